"""CSV as records: the adjacent rows of one product become the line of NDJSON that they stand for."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from connector_svc.domain.records import SAMPLE_LENGTH, Fault, IssueReason
from connector_svc.platforms.feed.csv_columns import Columns
from connector_svc.platforms.feed.lines import MAX_LINE_BYTES, Line
from connector_svc.platforms.feed.record import Record
from connector_svc.platforms.feed.wire import MAX_VARIANTS

MAX_CELL: Final = 131_072
"""Characters: the csv module's own limit, which belongs to the whole process and so is left alone."""
_UNREADABLE: Final = "x" * (MAX_CELL + 1)
"""Stands for a line that is too long: refused by the csv module, also in the middle of a quoted cell."""
MAX_PRODUCT_BYTES: Final = MAX_LINE_BYTES
"""Of the rows of one product together; as of its line in NDJSON."""
_MEBIBYTES: Final = MAX_PRODUCT_BYTES // (1024 * 1024)
_UNREADABLE_ROW: Final = f"A cell is longer than {MAX_CELL} characters, or its row than {_MEBIBYTES} MiB."
_LARGE_PRODUCT: Final = f"The product has more than {MAX_VARIANTS:,} rows, or more than {_MEBIBYTES} MiB of them."


@dataclass(slots=True)
class _Group:
    id: str
    line: int
    rows: list[Sequence[str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    taken: int = 0
    size: int = 0
    """Bytes of its rows."""
    whole: bool = True


def csv_records(lines: Iterable[Line]) -> Iterator[Record]:
    """The records of `lines`, of which the first is the header. Raises BadHeader; never for what a row holds."""
    texts = _Texts(lines)
    reader = csv.reader(texts)
    columns = Columns.of(_header(reader))
    group: _Group | None = None
    tainted = False
    for line, row in _rows(reader, texts):
        if row is None:
            # Whose row it was nobody knows: both neighbours may have lost a variant.
            if group is not None:
                group.whole = False
                yield _closed(columns, group)
            group, tainted = None, True
            yield Record(line=line, faults=(_too_large(_UNREADABLE_ROW),))
            continue
        identifier = columns.id_of(row)
        if group is None or identifier != group.id or not identifier:
            if group is not None:
                yield _closed(columns, group)
            group = _Group(id=identifier, line=line, whole=not tainted)
            tainted = False
        _add(columns, group, row, texts.row_size)
    if group is not None:
        yield _closed(columns, group)


class _Texts:
    """Lines for the csv module, and how many bytes of them the current row has taken.

    A row may go over many lines; one that takes more than a product may have is refused like a line that long.
    """

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = iter(lines)
        self.row_size = 0

    def __iter__(self) -> _Texts:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.row_size += MAX_PRODUCT_BYTES + 1 if line.data is None else len(line.data)
        if line.data is None or self.row_size > MAX_PRODUCT_BYTES:
            return _UNREADABLE + "\n"
        return line.data.decode("utf-8", "surrogateescape") + "\n"


def _header(reader: Iterator[list[str]]) -> list[str]:
    try:
        return next(reader, [])
    except csv.Error:
        return []


def _rows(reader: Iterator[list[str]], texts: _Texts) -> Iterator[tuple[int, list[str] | None]]:
    """Rows that are not blank with the line they begin in; None for one that cannot be read."""
    line = reader.line_num + 1  # type: ignore[attr-defined]
    while True:
        texts.row_size = 0
        try:
            row: list[str] | None = next(reader)
        except StopIteration:
            return
        except csv.Error:
            row = None
        if row is None or any(row):
            yield line, row
        line = reader.line_num + 1  # type: ignore[attr-defined]


def _add(columns: Columns, group: _Group, row: Sequence[str], size: int) -> None:
    group.taken += 1
    group.size += size
    if group.size > MAX_PRODUCT_BYTES or group.taken > MAX_VARIANTS:
        # A part of a product is none: its rows are dropped, and only counted from here on.
        group.rows.clear()
        group.faults = [_too_large(_LARGE_PRODUCT)]
        return
    if len(row) == len(columns):
        group.rows.append(row)
        return
    group.whole = False
    message = f"A row has {len(row)} cells under a header of {len(columns)}."
    sample = ",".join(row)[:SAMPLE_LENGTH].encode("utf-8", "replace").decode()
    group.faults.append(Fault(reason=IssueReason.INVALID_FIELD, message=message, sample=sample))


def _closed(columns: Columns, group: _Group) -> Record:
    faults, text = tuple(group.faults), b""
    try:
        text = msgspec.json.encode(columns.product(group.rows)) if group.rows else b""
    except UnicodeEncodeError:
        faults = (*faults, Fault(reason=IssueReason.INVALID_FIELD, message="The row is not UTF-8."))
    identifier = group.id.encode("utf-8", "replace").decode()
    return Record(line=group.line, rows=group.taken, text=text, id=identifier, faults=faults, whole=group.whole)


def _too_large(message: str) -> Fault:
    return Fault(reason=IssueReason.TOO_LARGE, message=message)
