"""The position of a Shopify pass, as its checkpoint stores it.

Checkpoints of running syncs outlive a deploy, so a renamed field keeps its stored name (`rename=`).
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from connector_svc.domain.checkpoint import PassCounts
from connector_svc.platforms.shopify.delivered_ids import SKETCH_BYTES
from connector_svc.platforms.shopify.queries import API_VERSION

FINGERPRINT = f"{API_VERSION}/id"
"""The API version and the order that give `last_id` its meaning."""


class DeletionPosition(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={"last_listed_id": "listed_id", "listed_count": "listed", "last_event_id": "event_id"},
):
    """How far an incremental pass has detected deletions, after its changed products have been delivered."""

    last_listed_id: int = 0
    """The highest id of the listing."""
    listed_count: int = 0
    """Ids listed so far."""
    all_listed: bool = False
    """Whether these are all ids."""
    last_event_id: int = 0
    """The last event that was read."""


class StockScanPosition(msgspec.Struct, frozen=True, kw_only=True, rename={"last_variant_id": "variant_id"}):
    """How far an incremental pass has scanned the stock of all variants."""

    last_variant_id: int = 0
    """The highest id read."""
    is_done: bool = False


class Position(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={
        "bulk_job_id": "job",
        "preexisting": "settled",
        "delivered_sketch": "delivered",
        "attempt": "turns",
        "stock_scan": "stock",
        "deletion_detection": "departures",
    },
):
    """The position after the product `last_id`, in id order.

    A pass resumes with the filter "id:>N" and not with a GraphQL cursor: N keeps its meaning when the product is
    deleted and when Shopify changes the format of its cursors, and a batch can end with any product, not only with
    the last one of a page.
    """

    watermark: datetime
    """UTC; also the upper bound of an incremental pass."""
    last_id: int = 0
    """0: before the first product."""
    counts: PassCounts = PassCounts()
    estimated_products: int | None = None
    estimated_items: int | None = None
    warnings: tuple[str, ...] = ()
    """Warnings of the whole pass so far."""
    notes: tuple[str, ...] = ()
    """Findings of the pass, for people."""
    bulk_job_id: str = ""
    """The gid of the bulk operation whose result is read; empty: pages are read."""
    currency: str = ""
    """The currency of the prices delivered so far; empty: not known."""
    preexisting: int = 0
    """Products delivered or rejected that existed when the pass began."""
    delivered_sketch: bytes = b""
    """A sketch of the delivered ids, see `delivered_ids`; empty: none."""
    attempt: int = 1
    """1 for the first read from the beginning of the shop, 2 after a restart."""
    stock_scan: StockScanPosition | None = None
    """None: not started."""
    deletion_detection: DeletionPosition | None = None
    """None: not started."""

    def __post_init__(self) -> None:
        if len(self.delivered_sketch) not in (0, SKETCH_BYTES):
            raise ValueError("delivered_sketch has the wrong length")
