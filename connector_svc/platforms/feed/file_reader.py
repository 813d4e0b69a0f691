"""File reader: downloads a published file, verifies its hash, and decompresses it into lines and records.

The download goes to a temporary file on disk. Everything after it blocks and runs in a thread.
"""

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

from connector_svc.decompression import DecompressionError, Inflater
from connector_svc.domain.records import Fault, IssueReason
from connector_svc.platforms.feed.client import FeedClient
from connector_svc.platforms.feed.errors import FileMismatch
from connector_svc.platforms.feed.wire import FeedFile

MAX_LINE_BYTES: Final = 4 * 1024 * 1024
MAX_DECOMPRESSION_RATIO: Final = 200
"""Decompressed bytes for each compressed byte; catalogs reach 5 to 50."""
_ALWAYS_ALLOWED_BYTES: Final = 1024 * 1024
"""Decompressed size up to which the ratio does not matter."""
_MEMORY_FILE_BYTES: Final = 1024 * 1024
"""A larger file goes to disk."""
_READ_BYTES: Final = 64 * 1024
_LINE_TOO_LONG: Final = Fault(
    reason=IssueReason.TOO_LARGE, message=f"The line is longer than {MAX_LINE_BYTES // (1024 * 1024)} MiB."
)


class FileCorrupt(Exception):
    """The file cannot be decompressed."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class ReadCancelled(Exception):
    """The read was cancelled before the end of the file."""


@asynccontextmanager
async def downloaded_file(client: FeedClient, file: FeedFile) -> AsyncIterator[IO[bytes]]:
    """Download the whole file and yield it as a temporary file, which is deleted when the context ends.

    Nothing of a file is parsed before its hash was verified: whoever can write to the publisher's host without
    having the secret brings no product into the catalog.

    Raises:
        FileMismatch: The file is not the one of the manifest.
        SourceFailure: The file cannot be read.
    """
    with tempfile.SpooledTemporaryFile(max_size=_MEMORY_FILE_BYTES) as content:
        digest = hashlib.sha256()
        size = 0
        while size < file.bytes:
            data = await client.read_range(file, size)
            size += len(data)
            await run_in_thread(partial(_append, data, content, digest))
        if not hmac.compare_digest(digest.hexdigest(), file.sha256):
            raise FileMismatch("its SHA-256 is not that of the manifest")
        yield content


def _append(data: bytes, content: IO[bytes], digest: hashlib._Hash) -> None:
    digest.update(data)
    content.write(data)


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its line end."""

    number: int
    """From 1, blank lines counted."""
    data: bytes | None
    """None: longer than MAX_LINE_BYTES."""


def read_lines(content: IO[bytes], file: FeedFile, cancelled: Event | None = None) -> Iterator[Line]:
    """Yield the lines of `content` from its beginning, without byte order mark and carriage returns.

    Holds one line in memory at a time.

    Args:
        cancelled: Ends the read with ReadCancelled soon after it is set.

    Raises:
        FileCorrupt: The file cannot be decompressed, or exceeds MAX_DECOMPRESSION_RATIO.
    """
    content.seek(0)
    number, buffer = 0, _LineBuffer()
    for chunk in _decompressed_chunks(content, file, cancelled or Event()):
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            number += 1
            yield _line(number, buffer.take_line(end))
        buffer.add(rest)
    if buffer.size:
        yield _line(number + 1, buffer.take_line(b""))


class _LineBuffer:
    """Beginning of a line whose end was not read yet; emptied once the line is longer than MAX_LINE_BYTES."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0

    def add(self, part: bytes) -> None:
        if part:
            self.size += len(part)
            self._parts.append(part)
        if self.size > MAX_LINE_BYTES:
            self._parts.clear()

    def take_line(self, end: bytes) -> bytes | None:
        """Return the whole line, None if it is too long, and empty the buffer."""
        if not self.size:
            return end if len(end) <= MAX_LINE_BYTES else None
        self.add(end)
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


def _decompressed_chunks(content: IO[bytes], file: FeedFile, cancelled: Event) -> Iterator[bytes]:
    chunks = _file_chunks(content, cancelled)
    if file.compression == "none":
        yield from chunks
        return
    max_size = max(MAX_DECOMPRESSION_RATIO * file.bytes, _ALWAYS_ALLOWED_BYTES)
    size = 0
    inflater = Inflater()
    try:
        for chunk in chunks:
            for part in inflater.feed(chunk):
                size += len(part)
                if size > max_size:
                    raise FileCorrupt(f"it decompresses to more than {MAX_DECOMPRESSION_RATIO} times its size")
                yield part
    except DecompressionError as error:
        raise FileCorrupt(str(error)) from None
    if not inflater.is_complete:
        raise FileCorrupt("its gzip data is truncated")


def _file_chunks(content: IO[bytes], cancelled: Event) -> Iterator[bytes]:
    while chunk := content.read(_READ_BYTES):
        if cancelled.is_set():
            raise ReadCancelled
        yield chunk


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One product of a file before decoding: a line of NDJSON, or its CSV rows converted to such a line."""

    line: int
    """Number of its first line in the file, from 1."""
    text: bytes = b""
    """JSON; empty when there is nothing to decode, and `faults` has the reason."""
    rows: int = 1
    id: str = ""
    """Of a record without text, if it is known."""
    faults: tuple[Fault, ...] = ()
    is_complete: bool = True
    """Whether none of its rows was lost; otherwise variants that are not in it may still exist."""


def ndjson_records(lines: Iterable[Line]) -> Iterator[Record]:
    """Yield the records of NDJSON: one JSON object per line, blank lines skipped. Accepts any content."""
    for line in lines:
        if line.data is None:
            yield Record(line=line.number, faults=(_LINE_TOO_LONG,))
        elif line.data.strip():
            yield Record(line=line.number, text=line.data)
