"""Decompression of untrusted data: bounded output per step, bounded number of gzip members."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

STEP_BYTES: Final = 256 * 1024
"""Maximum output of one step."""
MAX_MEMBERS: Final = 16
"""Of one gzip stream. Each costs time, even an empty one; tools write one, and concatenated files have a few."""
_GZIP_OR_ZLIB: Final = 47
_MAGIC: Final = b"\x1f\x8b"


class DecompressionError(Exception):
    """The data is not gzip or zlib, or has too many members; the message says which."""


class Inflater:
    """Decompresses one stream of gzip members, or of zlib, piece by piece."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._members = 1
        self._started = False
        self._head = b""
        """The first byte of what may be the next member; both bytes of its magic number are needed."""
        self._only_padding_left = False

    @property
    def is_complete(self) -> bool:
        """Whether the stream ended with a whole member; also if it was empty."""
        return self._member.eof or not self._started

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield what `piece` decompresses to, in parts of at most STEP_BYTES. Raises DecompressionError."""
        self._started = self._started or bool(piece)
        part = b""
        # A full part may leave output inside zlib, although all input is consumed.
        while piece or len(part) == STEP_BYTES:
            if self._member.eof:
                piece = self._next_member(piece)
                if not piece:
                    return
            try:
                part = self._member.decompress(piece, STEP_BYTES)
            except zlib.error:
                raise DecompressionError("its compressed data is broken") from None
            if part:
                yield part
            piece = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def _next_member(self, piece: bytes) -> bytes:
        """Start the next member and return its first bytes; empty if it is padding or not known yet."""
        piece, self._head = self._head + piece, b""
        if self._only_padding_left or not piece:
            return b""
        if piece == _MAGIC[:1]:
            self._head = piece
            return b""
        if not piece.startswith(_MAGIC):
            self._only_padding_left = True
            return b""
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise DecompressionError(f"it has more than {MAX_MEMBERS} gzip members")
        self._member = zlib.decompressobj(_GZIP_OR_ZLIB)
        return piece
