"""Changes of a catalog, as the platforms' webhooks report them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ChangeKind(Enum):
    """What was done to a catalog. A write by SQL (`touch=False`) is no change: no platform reports it."""

    PRODUCT_CREATED = "product-created"
    PRODUCT_UPDATED = "product-updated"
    PRODUCT_TRASHED = "product-trashed"
    """WooCommerce only."""
    PRODUCT_DELETED = "product-deleted"
    VARIANT_CREATED = "variant-created"
    VARIANT_UPDATED = "variant-updated"
    VARIANT_DELETED = "variant-deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change."""

    kind: ChangeKind
    product_id: int
    variant_ids: tuple[int, ...] = ()
    """The variant that changed; of a trashed or deleted product all its variants."""
    stock_changed: bool = False
