"""Records that a sync set aside."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordIssue:
    """A record that was set aside, or a fault within one that was stored."""

    reason: str
    """A name of `catalogsync.errors.v1.IssueReason`, without prefix."""
    product_id: str
    item_id: str
    field: str
    message: str
    sample: str
    product_rejected: bool


class RecordRejected(Exception):
    """A product that cannot be stored as it came; `issue` says why."""

    def __init__(self, issue: RecordIssue) -> None:
        super().__init__(issue.message)
        self.issue = issue


def count_rejected_products(issues: Iterable[RecordIssue]) -> int:
    """Count the products that were set aside whole: each once, however many issues name it.

    One that came without an id counts for each of its issues.
    """
    named, nameless = set[str](), 0
    for issue in issues:
        if issue.product_rejected and issue.product_id:
            named.add(issue.product_id)
        elif issue.product_rejected:
            nameless += 1
    return len(named) + nameless


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncIssue:
    """An issue with its place in its sync."""

    number: int
    issue: RecordIssue
    created_at: datetime
