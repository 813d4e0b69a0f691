"""Takes the compression off a body without trusting it.

How deep the JSON of an answer is nested, found out before a parser goes down into it.

Every answer passes here whole, so each step is one pass of C over it: a pattern that walks over the strings took a
third of what a product costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from connector_svc.decompression import Inflater, NotDecompressable
from connector_svc.http.failures import NoAnswer, UnusableAnswer


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
        self._inflater = Inflater() if encoding not in ("", "identity") else None
        self._limits = limits
        self._packed = 0
        self._unpacked = 0

    @property
    def is_identity(self) -> bool:
        """Whether nothing is compressed."""
        return self._inflater is None

    @property
    def unpacked(self) -> int:
        """Bytes so far."""
        return self._unpacked

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """What `piece` unpacks to."""
        self._packed += len(piece)
        for part in [piece] if self._inflater is None else self._inflated(self._inflater, piece):
            self._unpacked += len(part)
            self._check()
            yield part

    def close(self) -> None:
        """Raises NoAnswer when the compressed body stops before its end."""
        if self._inflater is not None and not self._inflater.is_complete:
            raise NoAnswer("the answer broke off")

    def _inflated(self, inflater: Inflater, piece: bytes) -> Iterator[bytes]:
        self._check()
        try:
            yield from inflater.feed(piece)
        except NotDecompressable as error:
            raise UnusableAnswer(f"the answer is wrongly compressed: {error}") from None

    def _check(self) -> None:
        limits = self._limits
        if max(self._packed, self._unpacked) > limits.max_bytes:
            raise UnusableAnswer(f"the answer is larger than {limits.max_bytes // (1024 * 1024)} MiB")
        if self._unpacked > limits.ratio_from and self._unpacked > limits.max_ratio * self._packed:
            raise UnusableAnswer(f"the answer unpacks to more than {limits.max_ratio} times its size")


_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NO_MARKS: Final = bytes(set(range(256)) - set(b'[]{}"'))


def is_nested_deeper(body: bytes, levels: int) -> bool:
    """Whether `body`, if it begins like JSON, is nested deeper than so many levels; broken JSON counts too."""
    text = body.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text.startswith((b"[", b"{")):
        return False
    brackets = _brackets(text)
    if brackets.count(b"[") <= levels:
        return False
    for _ in range(levels):
        inner = brackets
        brackets = inner.replace(b"[]", b"")
        if len(brackets) == len(inner):
            break
    # Whatever is left is still nested, or was never closed.
    return b"[]" in brackets or brackets.count(b"[") > levels


def _brackets(text: bytes) -> bytes:
    """Those outside of strings, of one kind."""
    if text.rfind(b'\\"') >= 0:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = text.translate(_ONE_KIND, _NO_MARKS)
    # Quotes side by side change nothing about what stands inside of a string and what does not.
    few = marks.replace(b'""""', b"").replace(b'""', b"")
    return b"".join(few.split(b'"')[::2])
