"""Whether a pass delivered everything that the store lists.

While nothing moves, counts prove it: each page told the same total, and as many products came. Otherwise counts
prove nothing, since each product that is deleted after it was delivered hides one that never came. Then the ids of
all products are listed, and those that never came are read.
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


def _ids() -> array[int]:
    return array("Q")


@dataclass(kw_only=True, slots=True)
class Delivered:
    """The ids of the products that one stream delivered; 8 bytes each."""

    after: int
    """Up to this id earlier streams of the pass delivered the products."""
    before: int
    """How many products they delivered, rejected ones included."""
    _ascending: array[int] = field(default_factory=_ids)

    def add(self, product_id: int) -> None:
        """Takes the next one; ids ascend."""
        self._ascending.append(product_id)

    def lacks(self, product_id: int) -> bool:
        """Whether this stream should have delivered the product and did not."""
        if product_id <= self.after:
            return False
        place = bisect_left(self._ascending, product_id)
        return place == len(self._ascending) or self._ascending[place] != product_id


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """The ids that the store lists, ascending."""

    ids: Sequence[int]
    total: int | None
    """How many products it counts."""

    @property
    def unlisted(self) -> int:
        """How many products are counted and not listed."""
        return max((self.total or 0) - len(self.ids), 0)


async def list_ids(client: StoreClient, window: Params) -> Listing:
    """Lists the ids of all products that `window` selects. Raises SourceFailure."""
    pager, ids = IdPager(client, window), _ids()
    async for page in pager.pages():
        ids.extend(entry.record.id for entry in page if entry.record.id is not None)
    return Listing(ids=ids, total=pager.total)


def is_proven(position: Position, pager: ProductPager) -> bool:
    """Whether counts alone prove that all products came."""
    received = position.counts.emitted + position.counts.rejected
    return pager.steady and pager.total == position.estimated_products == received


def end_of(position: Position, source_count: int, *warnings: str, unlisted: int = 0) -> End:
    """The end of the products of a pass. `unlisted`: how many are counted and not listed, and have no issue."""
    notes: tuple[str, ...] = ()
    if position.nameless:
        warnings += (f"{_products(position.nameless)} came without an id, or are counted and not listed.",)
        notes = (f"{_products(position.nameless)} could not be identified; the issues of this sync say where.",)
    if unlisted:
        text = f"The store counts {unlisted} more products than it lists; nothing is known of them."
        warnings += (text,)
        notes += (text,)
    if warnings:
        notes += ("This sync does not conclude that products are deleted which it did not meet.",)
    counts = position.counts
    return End(
        source_count=source_count,
        emitted_count=counts.emitted,
        rejected_count=counts.rejected,
        emitted_item_count=counts.emitted_items,
        warnings=warnings,
        notes=notes,
    )


def _products(count: int) -> str:
    return f"{count} product" if count == 1 else f"{count} products"
