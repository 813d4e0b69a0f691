"""Records that a sync set aside."""

from __future__ import annotations

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
    product_set_aside: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncIssue:
    """An issue with its place in its sync."""

    number: int
    issue: RecordIssue
    created_at: datetime
