"""Where a pass over a store stands, as its checkpoint keeps it."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from connector_svc.domain.checkpoint import PassCounts
from connector_svc.platforms.woocommerce.routes import Route

FINGERPRINT: Final = "wc/v3 products by id"
"""Of passes whose positions mean the same."""


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a later call needs to go on."""

    watermark: datetime
    """The store's clock when the pass began; UTC."""
    route: Route
    """That served variations so far."""
    last_id: int = 0
    """Products up to this id were delivered."""
    offset: int = 0
    """Where that product stood in the list then."""
    counts: PassCounts = PassCounts()
    nameless: int = 0
    """Products set aside without an id: no later look can tell whether they are still there."""
    estimated_products: int | None = None
    estimated_items: int | None = None
