"""Lines of a spooled file: unpacked step by step, none longer than we take.

Everything here blocks, and runs in a thread.


A published file on our own disk, proven to be the one that the signed manifest names.

One product of a file before it is understood, whatever the file's format.

NDJSON as records: one JSON object in a line, blank lines between them allowed."""

from __future__ import annotations

import codecs
import hashlib
import hmac
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import IO, Final

from catalogsync_common.threads import run_in_thread

from connector_svc.decompression import Inflater, NotDecompressable
from connector_svc.domain.fault import Fault
from connector_svc.domain.issue import IssueReason
from connector_svc.platforms.feed.client import FeedClient
from connector_svc.platforms.feed.errors import FileMismatch
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
    except NotDecompressable as error:
        raise Damaged(str(error)) from None
    if not inflater.is_complete:
        raise Damaged("its gzip data breaks off")


def _pieces(content: IO[bytes], stop: Event) -> Iterator[bytes]:
    while piece := content.read(_CHUNK):
        if stop.is_set():
            raise Stopped
        yield piece


_IN_MEMORY: Final = 1024 * 1024
"""Bytes; a larger file goes to disk."""


@asynccontextmanager
async def spooled(client: FeedClient, file: FeedFile) -> AsyncIterator[IO[bytes]]:
    """The whole file, until the block ends. Raises FileMismatch when it is another one, SourceFailure.

    Nothing of a file is looked at before its hash is known: whoever may write to the publisher's host, but has not
    the secret, brings no product into the catalog.
    """
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as content:
        digest = hashlib.sha256()
        size = 0
        while size < file.bytes:
            piece = await client.piece(file, size)
            size += len(piece)
            await run_in_thread(partial(_keep, piece, content, digest))
        if not hmac.compare_digest(digest.hexdigest(), file.sha256):
            raise FileMismatch("its SHA-256 is not that of the manifest")
        yield content


def _keep(piece: bytes, content: IO[bytes], digest: hashlib._Hash) -> None:
    digest.update(piece)
    content.write(piece)


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A line of NDJSON, or the adjacent CSV rows of one product as the line that they stand for."""

    line: int
    """Where it begins in the file, from 1 on."""
    text: bytes = b""
    """JSON; empty when there is nothing to understand, and `faults` says why."""
    rows: int = 1
    id: str = ""
    """Of a record without text, if it could be seen."""
    faults: tuple[Fault, ...] = ()
    whole: bool = True
    """Whether no row of it was lost; else absent variants are not gone."""


TOO_LONG: Final = Fault(
    reason=IssueReason.TOO_LARGE, message=f"The line is longer than {MAX_LINE_BYTES // (1024 * 1024)} MiB."
)


def ndjson_records(lines: Iterable[Line]) -> Iterator[Record]:
    """The records of `lines`. Never raises for what a line holds."""
    for line in lines:
        if line.data is None:
            yield Record(line=line.number, faults=(TOO_LONG,))
        elif line.data.strip():
            yield Record(line=line.number, text=line.data)
