"""Reply bodies of untrusted hosts: decompression within limits, and the check of their JSON nesting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from connector_svc.decompression import DecompressionError, Inflater
from connector_svc.http.failures import NoResponse, UnusableResponse

_BRACES_TO_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_ALL_BUT_BRACKETS_AND_QUOTES: Final = bytes(set(range(256)) - set(b'[]{}"'))


@dataclass(frozen=True, kw_only=True, slots=True)
class BodyLimits:
    """Limits of a reply body."""

    max_bytes: int = 20 * 1024 * 1024
    """Decompressed."""
    max_ratio: int = 200
    """Decompressed to compressed size. JSON of shops shrinks to a fiftieth at most; gzip can do a thousandth."""
    ratio_from: int = 1024 * 1024
    """Decompressed bytes from which the ratio is checked."""
    max_nesting: int = 64
    """Levels of JSON."""


class BodyDecoder:
    """Decompresses one body piece by piece. Raises UnusableResponse as soon as a limit is exceeded."""

    def __init__(self, encoding: str, limits: BodyLimits) -> None:
        """Create a decoder for the Content-Encoding `encoding`."""
        encoding = encoding.strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise UnusableResponse("the answer is compressed in a way that we did not ask for")
        self._inflater = Inflater() if encoding not in ("", "identity") else None
        self._limits = limits
        self._received_bytes = 0
        self._decoded_bytes = 0

    @property
    def is_identity(self) -> bool:
        """Whether the body is not compressed."""
        return self._inflater is None

    @property
    def decoded_bytes(self) -> int:
        """Decompressed bytes so far."""
        return self._decoded_bytes

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield what `piece` decompresses to."""
        self._received_bytes += len(piece)
        for part in [piece] if self._inflater is None else self._inflate(self._inflater, piece):
            self._decoded_bytes += len(part)
            self._check()
            yield part

    def close(self) -> None:
        """Raise NoResponse if the compressed body stops before its end."""
        if self._inflater is not None and not self._inflater.is_complete:
            raise NoResponse("the answer broke off")

    def _inflate(self, inflater: Inflater, piece: bytes) -> Iterator[bytes]:
        self._check()
        try:
            yield from inflater.feed(piece)
        except DecompressionError as error:
            raise UnusableResponse(f"the answer is wrongly compressed: {error}") from None

    def _check(self) -> None:
        limits = self._limits
        if max(self._received_bytes, self._decoded_bytes) > limits.max_bytes:
            raise UnusableResponse(f"the answer is larger than {limits.max_bytes // (1024 * 1024)} MiB")
        if (
            self._decoded_bytes > limits.ratio_from
            and self._decoded_bytes > limits.max_ratio * self._received_bytes
        ):
            raise UnusableResponse(f"the answer decompresses to more than {limits.max_ratio} times its size")


def is_nested_deeper(body: bytes, levels: int) -> bool:
    """Return whether `body`, if it starts like JSON, is nested deeper than `levels`; unclosed brackets count too.

    This runs before a parser recurses into the body, and every reply passes through it whole. Each step is
    therefore one pass of C over the bytes: a regular expression that skipped strings took a third of what a
    product costs.
    """
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
    """Return the brackets and braces outside of strings, all as brackets."""
    if text.rfind(b'\\"') >= 0:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = text.translate(_BRACES_TO_BRACKETS, _ALL_BUT_BRACKETS_AND_QUOTES)
    # Adjacent quotes change nothing about what is inside a string and what is not.
    few = marks.replace(b'""""', b"").replace(b'""', b"")
    return b"".join(few.split(b'"')[::2])
