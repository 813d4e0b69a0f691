"""Completion check: did a pass deliver every product that the store lists?

While nothing changes, counts prove it: every page reported the same total, and as many products were received.
Otherwise counts prove nothing, since a product that is deleted after its delivery hides one that was never
received. Then the ids of all products are listed, and those that were never received are read.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from connector_svc.domain.fetch import End
from connector_svc.platforms.woocommerce.client import Params, StoreClient
from connector_svc.platforms.woocommerce.position import Position
from connector_svc.platforms.woocommerce.product_pager import IdPager, ProductPager


def _id_array() -> array[int]:
    return array("Q")


@dataclass(kw_only=True, slots=True)
class DeliveredIds:
    """The ids of the products that one stream delivered; 8 bytes each."""

    after: int
    """Products up to this id were delivered by earlier streams of the pass."""
    before: int
    """Number of products that those delivered, rejected ones included."""
    _ascending: array[int] = field(default_factory=_id_array)

    def add(self, product_id: int) -> None:
        """Add the next id; ids ascend."""
        self._ascending.append(product_id)

    def is_missing(self, product_id: int) -> bool:
        """Return whether this stream should have delivered the product and did not."""
        if product_id <= self.after:
            return False
        index = bisect_left(self._ascending, product_id)
        return index == len(self._ascending) or self._ascending[index] != product_id


@dataclass(frozen=True, kw_only=True, slots=True)
class IdListing:
    """All ids that the store lists."""

    ids: Sequence[int]
    """Ascending."""
    total: int | None
    """Number of products that the store counts; None: the store does not report it."""

    @property
    def unlisted_count(self) -> int:
        """Number of products that are counted and not listed."""
        return max((self.total or 0) - len(self.ids), 0)


async def list_ids(client: StoreClient, filters: Params) -> IdListing:
    """List the ids of all products that `filters` select. Raise SourceFailure."""
    pager, ids = IdPager(client, filters), _id_array()
    async for page in pager.pages():
        ids.extend(listed.record.id for listed in page if listed.record.id is not None)
    return IdListing(ids=ids, total=pager.total)


def counts_prove_complete(position: Position, pager: ProductPager) -> bool:
    """Return whether counts alone prove that all products were received."""
    return pager.is_steady and pager.total == position.estimated_products == position.received_count


def build_end(position: Position, source_count: int, *warnings: str, unlisted_count: int = 0) -> End:
    """Build the end of the phase that reads products.

    Args:
        unlisted_count: Number of products that are counted and not listed, and have no issue.
    """
    notes: tuple[str, ...] = ()
    if position.missing_id_count:
        products = _format_count(position.missing_id_count)
        warnings += (f"{products} had no id, or were counted and not listed.",)
        notes = (f"{products} could not be identified; the issues of this sync say where.",)
    if unlisted_count:
        text = f"The store counts {unlisted_count} more products than it lists; nothing is known of them."
        warnings += (text,)
        notes += (text,)
    if warnings:
        notes += ("This sync does not treat products as deleted because they were not seen.",)
    return End(
        source_count=source_count,
        emitted_count=position.counts.emitted,
        rejected_count=position.counts.rejected,
        emitted_variant_count=position.counts.emitted_items,
        warnings=warnings,
        notes=notes,
    )


def _format_count(count: int) -> str:
    return f"{count} product" if count == 1 else f"{count} products"
