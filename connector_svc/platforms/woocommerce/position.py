"""The position of a pass over a store, as its checkpoint stores it.

Field names with `name=` keep that name in checkpoints: stored checkpoints of older releases must remain readable.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Final

import msgspec

from connector_svc.domain.checkpoint import PassCounts
from connector_svc.domain.fetch import End
from connector_svc.platforms.woocommerce.wire import VariationRoute

FINGERPRINT: Final = "wc/v3 products by id"
"""Passes with the same fingerprint have compatible positions."""


class Phase(Enum):
    """The phases of an incremental pass, in order; a full pass has PRODUCTS only."""

    TRASH = "trash"
    """List the trash. First, so that products restored meanwhile are delivered afterwards."""
    PRODUCTS = "products"
    """Read products whole."""
    STOCK = "stock"
    """Scan stock, price and id of all products: neither orders nor deletions change a modification date."""


class ScanProgress(msgspec.Struct, frozen=True, kw_only=True):
    """What the stock scan has listed so far."""

    count: int = 0
    """Distinct products."""
    is_complete: bool = msgspec.field(default=True, name="whole")
    """Whether no page had fewer products than the store counts."""


class ProductsEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The result of the phase PRODUCTS, kept for the end of the pass."""

    source_count: int = 0
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def from_end(cls, end: End) -> ProductsEnd:
        """Return the parts of `end` that concern products."""
        return cls(source_count=end.source_count, warnings=end.warnings, notes=end.notes)


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a resumed pass needs."""

    watermark: datetime
    """The store's clock when the pass began; UTC."""
    route: VariationRoute
    """The route in use for variations."""
    phase: Phase = Phase.PRODUCTS
    last_id: int = 0
    """Products up to this id have been delivered in this phase."""
    offset: int = 0
    """Place of that product in the list when it was read."""
    scan: ScanProgress = msgspec.field(default=ScanProgress(), name="listed")
    products_end: ProductsEnd | None = msgspec.field(default=None, name="closing")
    """Set in the phase STOCK only."""
    counts: PassCounts = PassCounts()
    missing_id_count: int = msgspec.field(default=0, name="nameless")
    """Products rejected without an id, or counted and not listed: no later lookup can identify them."""
    currency: str = ""
    """Of all prices so far; empty in positions of older releases."""
    estimated_products: int | None = None
    estimated_items: int | None = None

    @property
    def received_count(self) -> int:
        """Products delivered or rejected so far."""
        return self.counts.emitted + self.counts.rejected

    def at_start_of(self, phase: Phase, *, products_end: ProductsEnd | None = None) -> Position:
        """Return the position at the start of `phase`."""
        return msgspec.structs.replace(self, phase=phase, last_id=0, offset=0, products_end=products_end)
