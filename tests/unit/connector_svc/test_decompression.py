from __future__ import annotations

import gzip
import zlib

import pytest

from connector_svc.decompression import MAX_MEMBERS, STEP_BYTES, DecompressionError, Inflater


def inflated(data: bytes, piece_bytes: int) -> bytes:
    inflater = Inflater()
    parts = [
        part
        for begin in range(0, len(data), piece_bytes)
        for part in inflater.feed(data[begin : begin + piece_bytes])
    ]
    assert inflater.is_complete
    assert max(map(len, parts), default=0) <= STEP_BYTES
    return b"".join(parts)


@pytest.mark.parametrize("piece_bytes", [1, 2, 7, 64 * 1024])
def test_concatenated_members_are_one_text_wherever_the_pieces_are_cut(piece_bytes: int) -> None:
    texts = [b"one", b"", bytes(3 * STEP_BYTES), b"two" * 1000]
    assert inflated(b"".join(map(gzip.compress, texts)), piece_bytes) == b"".join(texts)


def test_zlib_is_decompressed_as_well() -> None:
    assert inflated(zlib.compress(b"text" * 100), 10) == b"text" * 100


@pytest.mark.parametrize("piece_bytes", [1, 64 * 1024])
def test_padding_after_the_last_member_is_ignored_even_if_it_looks_like_a_member(piece_bytes: int) -> None:
    assert inflated(gzip.compress(b"text") + b"\x00\x00\x1f\x8b\x1f", piece_bytes) == b"text"


def test_empty_input_is_complete_and_half_a_member_is_not() -> None:
    inflater = Inflater()
    assert inflater.is_complete
    assert b"".join(inflater.feed(gzip.compress(b"text" * 1000)[:-4])) == b"text" * 1000
    assert not inflater.is_complete


def test_a_stream_of_many_empty_members_is_rejected_early() -> None:
    empty = gzip.compress(b"")
    assert inflated(empty * MAX_MEMBERS, 64 * 1024) == b""
    with pytest.raises(DecompressionError, match=f"more than {MAX_MEMBERS} gzip members"):
        inflated(empty * 100_000, 64 * 1024)


def test_broken_data_is_rejected() -> None:
    with pytest.raises(DecompressionError, match="broken"):
        list(Inflater().feed(b"\x1f\x8b\x08broken broken broken"))
