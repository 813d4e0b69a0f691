"""The few facts about a product that lists are ordered and filtered by, without building the product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from devstore.catalog.model import Kind, Product


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the catalog's index. Times are whole seconds since the epoch."""

    id: int
    kind: Kind
    status: str
    created: int
    updated: int
    variant_ids: Sequence[int]

    @classmethod
    def of(cls, product: Product) -> Row:
        return cls(
            id=product.id,
            kind=product.kind,
            status=product.status,
            created=int(product.created.timestamp()),
            updated=int(product.updated.timestamp()),
            variant_ids=tuple(variant.id for variant in product.variants),
        )
