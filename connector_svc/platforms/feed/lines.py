"""Lines of a spooled file: unpacked step by step, none longer than we take."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final

from connector_svc.platforms.feed.wire import FeedFile

MAX_LINE_BYTES: Final = 4 * 1024 * 1024
MAX_RATIO: Final = 200
"""Unpacked bytes for each packed one; catalogs reach 5 to 50."""
_RATIO_FROM: Final = 1024 * 1024
"""Small files may be as repetitive as they like."""
_CHUNK: Final = 64 * 1024


class Damaged(Exception):
    """The file cannot be unpacked."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its end."""

    number: int
    """From 1 on, blank lines counted."""
    data: bytes | None
    """None: longer than MAX_LINE_BYTES."""


def lines(content: IO[bytes], file: FeedFile) -> Iterator[Line]:
    """The lines of `content`, from its beginning; a byte order mark and carriage returns are dropped.

    Raises Damaged.
    """
    content.seek(0)
    number, rest, too_long = 0, b"", False
    for chunk in _chunks(content, file):
        *whole, rest_of_chunk = chunk.split(b"\n")
        for part in whole:
            number += 1
            yield _line(number, rest + part, too_long)
            rest, too_long = b"", False
        rest += rest_of_chunk
        if len(rest) > MAX_LINE_BYTES:
            rest, too_long = b"", True
    if rest or too_long:
        yield _line(number + 1, rest, too_long)


def _line(number: int, data: bytes, too_long: bool) -> Line:
    if too_long or len(data) > MAX_LINE_BYTES:
        return Line(number, None)
    if number == 1:
        data = data.removeprefix(codecs.BOM_UTF8)
    return Line(number, data.removesuffix(b"\r"))


def _chunks(content: IO[bytes], file: FeedFile) -> Iterator[bytes]:
    if file.compression == "none":
        yield from iter(lambda: content.read(_CHUNK), b"")
        return
    most = max(MAX_RATIO * file.bytes, _RATIO_FROM)
    size = 0
    try:
        with gzip.GzipFile(fileobj=content, mode="rb") as unpacked:
            for chunk in iter(lambda: unpacked.read(_CHUNK), b""):
                size += len(chunk)
                if size > most:
                    raise Damaged(f"it unpacks to more than {MAX_RATIO} times its size")
                yield chunk
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise Damaged("its gzip data is broken or breaks off") from None
