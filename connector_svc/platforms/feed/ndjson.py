"""NDJSON as records: one JSON object in a line, blank lines between them allowed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from connector_svc.domain.records import Fault, IssueReason
from connector_svc.platforms.feed.lines import MAX_LINE_BYTES, Line
from connector_svc.platforms.feed.record import Record

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
