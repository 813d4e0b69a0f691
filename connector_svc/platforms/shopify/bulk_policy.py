"""When a bulk operation is worth its wait, and how long we wait for one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class BulkPolicy:
    """Limits of bulk operations."""

    from_products: int = 2_000
    """A first load of fewer products is read faster by pages."""
    from_products_when_fast: int = 100_000
    """The same in a shop whose plan restores many points."""
    fast_restore_rate: float = 1_000.0
    """Points a second that make a plan fast: Shopify Plus."""
    first_poll: timedelta = timedelta(milliseconds=500)
    slowest_poll: timedelta = timedelta(seconds=5)
    stalled_after: timedelta = timedelta(minutes=5)
    """Without progress; then the job is cancelled and pages are read instead."""
    cancel_within: timedelta = timedelta(seconds=10)
    """So long an end of a cancelled job is waited for."""
    max_file_bytes: int = 8 * 1024**3
    """Of a result; it is held on disk while it is sorted."""
    page_bytes: int = 2 * 1024 * 1024
    """Of the products that are taken from the disk at once; a single product may be larger."""
