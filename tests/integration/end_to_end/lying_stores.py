"""Syncs of stores whose replies leave products out, while other products are deleted or edited."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from random import Random

from catalog_svc.domain.source import SourceBatch, SourceEvent, SourceRequest
from catalog_svc.domain.sync import Sync, SyncMode, SyncState
from catalog_svc.usecases.ports import ProductSource
from devstore.catalog.catalog import Catalog
from devstore.faults import FaultKind, RequestMatcher, ScriptedFault
from tests.integration.catalog_svc.conftest import CatalogWorld
from tests.integration.end_to_end.conftest import EndToEnd, Opens

PRODUCTS = 600
_NULL_NODES = 0.01
"""Of the nodes of Shopify. The store that was found out lost 0.2 %, of fifty times as many products."""
_DROPPED_ROWS = 0.1
"""Of the pages of WooCommerce: each of them lacks one row that its total counts."""


def _null_nodes(shop: EndToEnd, seed: int) -> None:
    quirks = shop.store.shopify(shop.domain).quirks
    quirks.random.seed(seed)
    quirks.null_nodes = _NULL_NODES


def _honest_nodes(shop: EndToEnd) -> None:
    shop.store.shopify(shop.domain).quirks.null_nodes = 0.0


def _dropped_rows(shop: EndToEnd, seed: int) -> None:
    matcher = RequestMatcher(where="per_page", share=_DROPPED_ROWS, seed=seed)
    shop.store.add_fault(shop.domain, ScriptedFault(kind=FaultKind.DROPPED_ROWS, matcher=matcher))


def _whole_rows(shop: EndToEnd) -> None:
    shop.store.clear_faults(shop.domain)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lie:
    """How a store of a platform errs."""

    platform: str
    begin: Callable[[EndToEnd, int], None]
    end: Callable[[EndToEnd], None]


LIES: Mapping[str, Lie] = {
    "shopify": Lie(platform="shopify", begin=_null_nodes, end=_honest_nodes),
    "woocommerce-8.2": Lie(platform="woocommerce-8.2", begin=_dropped_rows, end=_whole_rows),
    "woocommerce-10.3": Lie(platform="woocommerce-10.3", begin=_dropped_rows, end=_whole_rows),
}


def _delete(catalog: Catalog, dice: Random) -> None:
    catalog.delete_product(dice.choice([row.id for row in catalog.rows()]))


def _edit(catalog: Catalog, dice: Random) -> None:
    catalog.update_product(dice.choice([row.id for row in catalog.rows()]), title=f"Edited {dice.random()}")


WORK: Mapping[str, Callable[[Catalog, Random], None]] = {"deleting": _delete, "editing": _edit}
"""What the merchant does each time that a batch arrives."""


class _WorkedOn:
    """A source whose merchant works while it is read."""

    def __init__(self, inner: ProductSource, work: Callable[[], None]) -> None:
        self._inner = inner
        self._work = work

    async def fetch(self, request: SourceRequest) -> AsyncGenerator[SourceEvent, None]:
        async with aclosing(self._inner.fetch(request)) as events:
            async for event in events:
                if isinstance(event, SourceBatch):
                    self._work()
                yield event


async def run_lies(opens: Opens, *, lie: str, work: str, seed: int) -> SyncState:
    """One first sync and one full sync over a lying store, each followed by an honest incremental one.

    Returns the state of the second full sync. Raises AssertionError when a sync succeeded and something that was
    there all along is missing or marked as deleted, or when the next sync does not bring the catalog to the truth.
    """
    told, dice = LIES[lie], Random(seed)
    async with opens(told.platform, products=PRODUCTS, edge_cases=False, seed=seed) as shop:
        await _lying_sync(shop, told, WORK[work], dice)
        again = await _lying_sync(shop, told, WORK[work], dice)
    return again.state


async def _lying_sync(shop: EndToEnd, lie: Lie, work: Callable[[Catalog, Random], None], dice: Random) -> Sync:
    before = {item.item_id for item in shop.catalog.sellable_items()}
    lie.begin(shop, dice.randrange(2**32))
    try:
        sync = await _full_sync(shop, lambda: work(shop.catalog, dice))
    finally:
        lie.end(shop)
    if sync.state is not SyncState.SUCCEEDED:
        assert sync.state is SyncState.FAILED
        # Whatever was missed is for the next sync, and this one must have deleted nothing that exists.
        assert (await _tombstones(shop)).isdisjoint(_sold(shop))
        await shop.succeed()
    else:
        throughout = before & _sold(shop)
        stored = await _live(shop)
        assert throughout <= stored, f"missing after SUCCEEDED: {sorted(throughout - stored)[:5]}"
        await shop.succeed(SyncMode.INCREMENTAL)
    await shop.check_truth()
    return sync


async def _full_sync(shop: EndToEnd, work: Callable[[], None]) -> Sync:
    ordered = await shop.order(SyncMode.FULL)
    world = CatalogWorld(shop.engine)
    source = _WorkedOn(shop.connector, work)
    await world.runner(source, items_per_transaction=1).run(await world.claim())
    return await world.syncs.get(ordered.sync_id)


def _sold(shop: EndToEnd) -> set[str]:
    return {item.item_id for item in shop.catalog.sellable_items()}


async def _live(shop: EndToEnd) -> set[str]:
    rows = await shop.world.rows("SELECT item_id FROM item WHERE deleted_at IS NULL")
    return {row["item_id"] for row in rows}


async def _tombstones(shop: EndToEnd) -> set[str]:
    rows = await shop.world.rows("SELECT item_id FROM item WHERE deleted_at IS NOT NULL")
    return {row["item_id"] for row in rows}
