"""docs/operations/error-reasons.md describes every reason of the contract, with its status code."""

from __future__ import annotations

import re
from pathlib import Path

from catalogsync.errors.v1.error_reason_pb2 import ErrorReason
from catalogsync.errors.v1.issue_reason_pb2 import IssueReason
from catalogsync_common.status import RETRY_DELAYS, STATUS_CODES

PAGE = Path(__file__).parents[3] / "docs/operations/error-reasons.md"


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_each_reason_has_a_row_with_its_code_and_what_to_do() -> None:
    table = rows("Reasons")
    assert all(len(row) == 5 and all(row) for row in table)
    names = [row[0].strip("`") for row in table]
    assert names == [
        name.removeprefix("ERROR_REASON_")
        for name, number in sorted(ErrorReason.items(), key=lambda pair: pair[1])
        if number
    ]
    for name, row in zip(names, table, strict=True):
        expected = STATUS_CODES[name].name + (", retry" if name in RETRY_DELAYS else "")
        assert row[1] == expected, name


def test_each_reason_of_a_rejected_record_has_a_row() -> None:
    table = rows("Rejected records")
    assert all(len(row) == 3 and all(row) for row in table)
    names = [name.removeprefix("ISSUE_REASON_") for name, number in IssueReason.items() if number]
    assert [row[0].strip("`") for row in table] == names


def test_the_settings_that_the_page_names_exist() -> None:
    found = set(re.findall(r"`(C(?:ATALOG|ONNECTOR)_\w+)`", PAGE.read_text(encoding="utf-8")))
    settings = found - STATUS_CODES.keys()
    page = PAGE.with_name("settings.md").read_text(encoding="utf-8")
    assert settings
    assert [name for name in settings if f"`{name}`" not in page] == []
