"""Pictures are real."""

from __future__ import annotations

import struct
import zlib

from devstore.catalog.sample_data import png


def test_a_picture_is_a_whole_png_that_follows_from_its_id() -> None:
    picture = png(7)
    assert (picture, picture != png(8)) == (png(7), True)
    width, height = struct.unpack(">II", picture[16:24])
    data = picture[picture.index(b"IDAT") + 4 : picture.index(b"IEND") - 8]
    assert len(zlib.decompress(data)) == height * (1 + width * 3)
    assert len(picture) < 300
