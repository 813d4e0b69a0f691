"""One product of a file before it is understood, whatever the file's format."""

from __future__ import annotations

from dataclasses import dataclass

from connector_svc.domain.records import Fault


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
