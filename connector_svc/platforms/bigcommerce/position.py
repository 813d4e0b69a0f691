"""Where a pass over a store stands, as its checkpoint keeps it."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from connector_svc.domain.checkpoint import PassCounts

FINGERPRINT: Final = "bigcommerce v3 products by id"
"""Of passes whose positions mean the same."""


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a later call needs to go on."""

    watermark: datetime
    """The platform's clock when the pass began; UTC."""
    last_id: int = 0
    """Products up to this id were seen."""
    counts: PassCounts = PassCounts()
    passed_by: int = 0
    """Products that an incremental pass saw and found unchanged."""
    nameless: int = 0
    """Products set aside without an id: no later look can tell whether they are still there."""
    unlisted: int = 0
    """Products that the store counts and does not list."""
    default_stock: int = 0
    """Products whose stock is that of the default location, though the pass reads all locations."""
    currency: str = ""
    """Of the store when the pass began; empty in checkpoints of older releases."""
    estimated_products: int | None = None
    estimated_items: int | None = None

    @property
    def seen(self) -> int:
        """Distinct products so far."""
        return self.counts.emitted + self.counts.rejected + self.passed_by
