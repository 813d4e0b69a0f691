"""Lines of a spooled file: unpacked step by step, none longer than we take.

Everything here blocks, and runs in a thread.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event
from typing import IO, Final

from connector_svc.decompression import DecompressionError, Inflater
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


class Stopped(Exception):
    """Nobody wants the rest of the file."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its end."""

    number: int
    """From 1 on, blank lines counted."""
    data: bytes | None
    """None: longer than MAX_LINE_BYTES."""


def lines(content: IO[bytes], file: FeedFile, stop: Event | None = None) -> Iterator[Line]:
    """The lines of `content`, from its beginning; a byte order mark and carriage returns are dropped.

    Holds one line at a time. Raises Damaged, and Stopped soon after `stop` is set.
    """
    content.seek(0)
    number, begun = 0, _LineBuffer()
    for chunk in _chunks(content, file, stop or Event()):
        *ends, rest = chunk.split(b"\n")
        for part in ends:
            number += 1
            yield _line(number, begun.ended_by(part))
        begun.add(rest)
    if begun.size:
        yield _line(number + 1, begun.ended_by(b""))


class _LineBuffer:
    """The beginning of a line whose end has not come; no more of it than a line may have."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0

    def add(self, part: bytes) -> None:
        if part:
            self.size += len(part)
            self._parts.append(part)
        if self.size > MAX_LINE_BYTES:
            self._parts.clear()

    def ended_by(self, part: bytes) -> bytes | None:
        """The whole line; None: too long. The buffer is empty afterwards."""
        if not self.size:
            return part if len(part) <= MAX_LINE_BYTES else None
        self.add(part)
        data = b"".join(self._parts) if self.size <= MAX_LINE_BYTES else None
        self._parts.clear()
        self.size = 0
        return data


def _line(number: int, data: bytes | None) -> Line:
    if data is None:
        return Line(number, None)
    if number == 1:
        data = data.removeprefix(codecs.BOM_UTF8)
    return Line(number, data.removesuffix(b"\r"))


def _chunks(content: IO[bytes], file: FeedFile, stop: Event) -> Iterator[bytes]:
    pieces = _pieces(content, stop)
    if file.compression == "none":
        yield from pieces
        return
    most = max(MAX_RATIO * file.bytes, _RATIO_FROM)
    size = 0
    inflater = Inflater()
    try:
        for piece in pieces:
            for part in inflater.feed(piece):
                size += len(part)
                if size > most:
                    raise Damaged(f"it unpacks to more than {MAX_RATIO} times its size")
                yield part
    except DecompressionError as error:
        raise Damaged(str(error)) from None
    if not inflater.is_complete:
        raise Damaged("its gzip data breaks off")


def _pieces(content: IO[bytes], stop: Event) -> Iterator[bytes]:
    while piece := content.read(_CHUNK):
        if stop.is_set():
            raise Stopped
        yield piece
