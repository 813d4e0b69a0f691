"""Takes the compression off a body without trusting it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from connector_svc.http.failures import NoAnswer, UnusableAnswer

_STEP: Final = 256 * 1024
"""Bytes that one step may unpack to: a bomb is noticed before it is in memory."""
_ANY_HEADER: Final = 47
"""Of zlib: gzip or zlib, whichever it is."""
_GZIP_MAGIC: Final = b"\x1f\x8b"


@dataclass(frozen=True, kw_only=True, slots=True)
class BodyLimits:
    """What an answer may be."""

    max_bytes: int = 20 * 1024 * 1024
    """Unpacked."""
    max_ratio: int = 200
    """Unpacked to packed. JSON of shops packs to a fiftieth at most; gzip can do a thousandth."""
    ratio_from: int = 1024 * 1024
    """Unpacked bytes from which the ratio counts."""
    max_nesting: int = 64
    """Levels of JSON."""


class Unpacker:
    """Unpacks one body, piece by piece. Raises UnusableAnswer as soon as a limit is passed."""

    def __init__(self, encoding: str, limits: BodyLimits) -> None:
        encoding = encoding.strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise UnusableAnswer("the answer is compressed in a way that we did not ask for")
        self._inflate = zlib.decompressobj(_ANY_HEADER) if encoding not in ("", "identity") else None
        self._limits = limits
        self._packed = 0
        self._unpacked = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """What `piece` unpacks to."""
        self._packed += len(piece)
        for part in [piece] if self._inflate is None else self._inflated(piece):
            self._unpacked += len(part)
            self._check()
            yield part

    def close(self) -> None:
        """Raises NoAnswer when the compressed body stops before its end."""
        if self._inflate is not None and self._packed and not self._inflate.eof:
            raise NoAnswer("the answer broke off")

    def _inflated(self, piece: bytes) -> Iterator[bytes]:
        part = b""
        # A full part may leave output inside, although all input is taken.
        while piece or len(part) == _STEP:
            if self._inflate is None or self._inflate.eof:
                if not piece.startswith(_GZIP_MAGIC):
                    return  # padding
                self._inflate = zlib.decompressobj(_ANY_HEADER)
            try:
                part = self._inflate.decompress(piece, _STEP)
            except zlib.error:
                raise UnusableAnswer("the answer is wrongly compressed") from None
            yield part
            piece = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail

    def _check(self) -> None:
        limits = self._limits
        if max(self._packed, self._unpacked) > limits.max_bytes:
            raise UnusableAnswer(f"the answer is larger than {limits.max_bytes // (1024 * 1024)} MiB")
        if self._unpacked > limits.ratio_from and self._unpacked > limits.max_ratio * self._packed:
            raise UnusableAnswer(f"the answer unpacks to more than {limits.max_ratio} times its size")
