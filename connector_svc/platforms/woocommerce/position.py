"""Where a pass over a store stands, as its checkpoint keeps it."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Final

import msgspec

from connector_svc.domain.checkpoint import PassCounts
from connector_svc.domain.fetch import End
from connector_svc.platforms.woocommerce.wire import Route

FINGERPRINT: Final = "wc/v3 products by id"
"""Of passes whose positions mean the same."""


class Phase(Enum):
    """What a pass is at. An incremental one goes through all of them, a full one only reads products."""

    TRASH = "trash"
    """Lists what the merchant threw away. First: what is restored meanwhile comes with the products."""
    PRODUCTS = "products"
    """Reads products whole."""
    STOCK = "stock"
    """Looks at the stock and the id of everything: neither orders nor deletions move a date."""


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """What the sweep over everything has seen."""

    count: int = 0
    """Distinct products."""
    whole: bool = True
    """Whether no page held less than the store counts."""


class Closing(msgspec.Struct, frozen=True, kw_only=True):
    """What was known when the last product was read, for the end of the pass."""

    source_count: int = 0
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, end: End) -> Closing:
        """What `end`, of the products alone, says."""
        return cls(source_count=end.source_count, warnings=end.warnings, notes=end.notes)


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a later call needs to go on."""

    watermark: datetime
    """The store's clock when the pass began; UTC."""
    route: Route
    """That served variations so far."""
    phase: Phase = Phase.PRODUCTS
    last_id: int = 0
    """In this phase products up to this id were delivered."""
    offset: int = 0
    """Where that product stood in the list then."""
    listed: Listed = Listed()
    closing: Closing | None = None
    """In the last phase only."""
    counts: PassCounts = PassCounts()
    nameless: int = 0
    """Products rejected without an id, or counted and not listed: no later look can tell what became of them."""
    currency: str = ""
    """Of all prices so far; empty: not known, in positions of older releases."""
    estimated_products: int | None = None
    estimated_items: int | None = None

    def entering(self, phase: Phase, *, closing: Closing | None = None) -> Position:
        """At the beginning of `phase`."""
        return msgspec.structs.replace(self, phase=phase, last_id=0, offset=0, closing=closing)
