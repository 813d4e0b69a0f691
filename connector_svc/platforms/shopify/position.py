"""Where a Shopify pass stands."""

from __future__ import annotations

from datetime import datetime

import msgspec

from connector_svc.domain.checkpoint import PassCounts
from connector_svc.platforms.shopify.delivered_ids import SKETCH_BYTES
from connector_svc.platforms.shopify.queries import API_VERSION

FINGERPRINT = f"{API_VERSION}/id"
"""Version and order that give `last_id` its meaning."""


class DeletionPosition(msgspec.Struct, frozen=True, kw_only=True):
    """How far an incremental pass has looked for products that are gone, its changed ones being delivered."""

    listed_id: int = 0
    """The highest id of the listing."""
    listed: int = 0
    """Ids listed so far."""
    all_listed: bool = False
    """Whether those are all."""
    event_id: int = 0
    """The last event of the log that was looked at."""


class StockScanPosition(msgspec.Struct, frozen=True, kw_only=True):
    """How far an incremental pass has read the stock of all variants."""

    variant_id: int = 0
    """The highest id read."""
    is_done: bool = False


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """After the product `last_id`, in the order of ids.

    A pass goes on with the search "id:>N" and not with a cursor: N keeps its meaning when the product is deleted
    and when Shopify changes what its cursors look like, and any product can end a batch, not only a page's last.
    """

    watermark: datetime
    """UTC; also the upper bound of an incremental pass."""
    last_id: int = 0
    """0: before the first product."""
    counts: PassCounts = PassCounts()
    estimated_products: int | None = None
    estimated_items: int | None = None
    warnings: tuple[str, ...] = ()
    """Of the whole pass so far."""
    notes: tuple[str, ...] = ()
    """What came to light, for people."""
    job: str = ""
    """The gid of the bulk operation whose result is read; empty: pages are read."""
    currency: str = ""
    """Of the prices delivered so far; empty: not known."""
    settled: int = 0
    """Products delivered or set aside that were there when the pass began."""
    delivered: bytes = b""
    """A sketch of their ids; empty: none."""
    turns: int = 1
    """How often the pass was read from its beginning."""
    stock: StockScanPosition | None = None
    """None: not read yet."""
    departures: DeletionPosition | None = None
    """None: not looked for yet."""

    def __post_init__(self) -> None:
        if len(self.delivered) not in (0, SKETCH_BYTES):
            raise ValueError("delivered is no sketch")
