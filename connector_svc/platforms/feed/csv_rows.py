"""CSV as records: the adjacent rows of one product become the line of NDJSON that they stand for."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from connector_svc.domain.fault import Fault
from connector_svc.domain.issue import SAMPLE_LENGTH, IssueReason
from connector_svc.platforms.feed.csv_columns import Columns
from connector_svc.platforms.feed.lines import Line
from connector_svc.platforms.feed.record import Record

MAX_CELL: Final = 131_072
"""Characters: the csv module's own limit, which belongs to the whole process and so is left alone."""
_UNREADABLE: Final = "x" * (MAX_CELL + 1)
"""Stands for a line that is too long: refused by the csv module, also in the middle of a quoted cell."""


@dataclass(slots=True)
class _Group:
    id: str
    line: int
    rows: list[Sequence[str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    taken: int = 0
    whole: bool = True


def csv_records(lines: Iterable[Line]) -> Iterator[Record]:
    """The records of `lines`, of which the first is the header. Raises BadHeader; never for what a row holds."""
    reader = csv.reader(_texts(lines))
    columns = Columns.of(_header(reader))
    group: _Group | None = None
    tainted = False
    for line, row in _rows(reader):
        if row is None:
            # Whose row it was nobody knows: both neighbours may have lost a variant.
            if group is not None:
                group.whole = False
                yield _closed(columns, group)
            group, tainted = None, True
            yield Record(line=line, faults=(_too_large(),))
            continue
        identifier = columns.id_of(row)
        if group is None or identifier != group.id or not identifier:
            if group is not None:
                yield _closed(columns, group)
            group = _Group(id=identifier, line=line, whole=not tainted)
            tainted = False
        _add(columns, group, row)
    if group is not None:
        yield _closed(columns, group)


def _texts(lines: Iterable[Line]) -> Iterator[str]:
    for line in lines:
        text = _UNREADABLE if line.data is None else line.data.decode("utf-8", "surrogateescape")
        yield text + "\n"


def _header(reader: Iterator[list[str]]) -> list[str]:
    try:
        return next(reader, [])
    except csv.Error:
        return []


def _rows(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str] | None]]:
    """Rows that are not blank with the line they begin in; None for one that cannot be read."""
    line = reader.line_num + 1  # type: ignore[attr-defined]
    while True:
        try:
            row: list[str] | None = next(reader)
        except StopIteration:
            return
        except csv.Error:
            row = None
        if row is None or any(row):
            yield line, row
        line = reader.line_num + 1  # type: ignore[attr-defined]


def _add(columns: Columns, group: _Group, row: Sequence[str]) -> None:
    group.taken += 1
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


def _too_large() -> Fault:
    return Fault(reason=IssueReason.TOO_LARGE, message=f"A cell is longer than {MAX_CELL} characters.")
