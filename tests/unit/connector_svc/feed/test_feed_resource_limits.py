"""Limits of memory and of threads for files and products of any size."""

from __future__ import annotations

import asyncio
import gzip
import io
import threading
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

import msgspec
import pytest

from connector_svc.domain.fetch import FetchRequest
from connector_svc.domain.records import IssueReason
from connector_svc.domain.shop import Shop
from connector_svc.platforms.feed.batch_builder import BatchBuilder, Position
from connector_svc.platforms.feed.csv_records import csv_records
from connector_svc.platforms.feed.file_reader import (
    MAX_LINE_BYTES,
    FileCorrupt,
    Record,
    ndjson_records,
    read_lines,
)
from connector_svc.platforms.feed.id_scan import scan_records
from connector_svc.platforms.feed.parse import RecordParser
from connector_svc.platforms.feed.wire import MAX_VARIANTS, FeedFile

SHOP = Shop("feed", "shop.example")
LONG_LINE = b"x" * (MAX_LINE_BYTES - 200)
MIB = 1024 * 1024


def file_of(size: int, fmt: Literal["ndjson", "csv"], compression: Literal["none", "gzip"] = "none") -> FeedFile:
    file = FeedFile(path="/feed", format=fmt, bytes=size, sha256="0" * 64, row_count=0, product_count=0)
    return msgspec.structs.replace(file, compression=compression)


class LongLines(io.RawIOBase):
    """An NDJSON file of lines of nearly MAX_LINE_BYTES, generated while it is read."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._chunks = self._generate()
        self.reading_threads: set[int] = set()
        """Identifiers of the threads that read it."""

    def _generate(self) -> Iterator[bytes]:
        for number in range(self._count):
            yield b'{"id":"%d","title":"T","variants":[{"id":"v%d"}],"note":"' % (number, number)
            yield LONG_LINE
            yield b'"}\n'

    def seek(self, offset: int, whence: int = 0) -> int:
        self._chunks = self._generate()
        return 0

    def read(self, size: int = -1) -> bytes:
        self.reading_threads.add(threading.get_ident())
        return next(self._chunks, b"")


def records(content: LongLines) -> Iterator[Record]:
    return ndjson_records(read_lines(content, file_of(MIB, "ndjson")))  # type: ignore[arg-type]


async def test_at_most_two_lines_of_4_mib_are_in_memory() -> None:
    content = LongLines(40)
    tracemalloc.start()
    try:
        scan = await scan_records(records(content))
        builder = BatchBuilder(FetchRequest(shop=SHOP), records(content), scan, position())
        delivered = 0
        while batch := await asyncio.to_thread(builder.next_batch):
            delivered += len(batch.products)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (scan.products, delivered) == (40, 40)
    # One complete line, the parts of the next one, and the copy that joins them.
    assert peak < 4 * MAX_LINE_BYTES


async def test_no_line_is_read_in_the_event_loops_thread() -> None:
    content = LongLines(3)
    await scan_records(records(content))
    assert content.reading_threads
    assert threading.get_ident() not in content.reading_threads


async def test_a_cancelled_scan_stops_reading_and_is_waited_for() -> None:
    class Endless(io.RawIOBase):
        started, reads_after_cancel = threading.Event(), 0

        def seek(self, offset: int, whence: int = 0) -> int:
            return 0

        def read(self, size: int = -1) -> bytes:
            self.started.set()
            self.reads_after_cancel += cancelled.is_set()
            return b"\n" * 1000

    content, cancelled = Endless(), threading.Event()
    source = ndjson_records(read_lines(content, file_of(MIB, "ndjson"), cancelled))  # type: ignore[arg-type]
    scanning = asyncio.create_task(scan_records(source, cancelled))
    await asyncio.to_thread(content.started.wait)
    scanning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scanning
    assert content.reads_after_cancel <= 1


async def test_a_file_of_empty_gzip_members_is_refused() -> None:
    body = gzip.compress(b"") * 10_000 + gzip.compress(b'{"id":"1","title":"T","variants":[]}\n')
    with pytest.raises(FileCorrupt, match="gzip members"):
        await scan_records(ndjson_records(read_lines(io.BytesIO(body), file_of(len(body), "ndjson", "gzip"))))


def csv_file(text: str) -> list[Record]:
    body = text.encode()
    return list(csv_records(read_lines(io.BytesIO(body), file_of(len(body), "csv"))))


def test_a_csv_product_with_too_many_rows_is_rejected_alone_and_its_rows_are_counted() -> None:
    large = "1,A,v,\n" * (MAX_VARIANTS + 500)
    first, second = csv_file(f"id,title,variant_id,note\n{large}2,B,w,\n")
    assert (first.rows, first.text) == (MAX_VARIANTS + 500, b"")
    assert [fault.reason for fault in first.faults] == [IssueReason.TOO_LARGE]
    assert RecordParser().parse(first).id == "1"
    assert RecordParser().parse(second).product is not None


def test_a_csv_product_larger_than_the_maximum_line_is_rejected_alone() -> None:
    wide = ",".join(["n" * 100_000] * 30)
    header = ",".join(["id", "title", "variant_id", *(f"n{n}" for n in range(30))])
    first, second = csv_file(f"{header}\n1,A,v,{wide}\n1,A,w,{wide}\n2,B,w,{',' * 29}\n")
    assert (first.rows, [fault.reason for fault in first.faults]) == (2, [IssueReason.TOO_LARGE])
    assert RecordParser().parse(second).product is not None


def test_a_csv_row_with_too_many_lines_is_not_kept_in_memory() -> None:
    cell = '"' + "x" * 50_000 + '\n"'
    found = csv_file("id,title,variant_id\n" + "1,A,v," + ",".join([cell] * 200) + "\n2,B,w\n")
    assert found[0].faults[0].reason is IssueReason.TOO_LARGE
    assert max(len(record.text) for record in found) < 1000


def test_an_ndjson_product_with_too_many_variants_is_rejected() -> None:
    line = {"id": "1", "title": "A", "variants": [{"id": str(n)} for n in range(MAX_VARIANTS + 1)]}
    parsed = RecordParser().parse(Record(line=1, text=msgspec.json.encode(line)))
    assert parsed.product is None
    assert [(issue.reason, issue.field) for issue in parsed.issues] == [(IssueReason.TOO_LARGE, "variants")]


def position() -> Position:
    return Position(
        file=file_of(MIB, "ndjson"), delta=False, generated_at=datetime(2026, 11, 20, tzinfo=UTC), currency="EUR"
    )
