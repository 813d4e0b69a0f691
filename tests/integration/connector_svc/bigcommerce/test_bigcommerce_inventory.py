"""Stock over several locations, backorders, and a token without the inventory scope."""

from __future__ import annotations

import json
from dataclasses import dataclass

from aiohttp import web

from connector_svc.domain.product import InventoryPolicy
from devstore.faults import ORIGINAL_REPLY
from tests.integration.connector_svc.bigcommerce.bigcommerce_store import SHOP, START_TIME, OpenStore, StoreFactory

SCOPE = "store_inventory_read_only"


@dataclass(slots=True)
class OmitHalfOfInventory:
    """The next lists of the Inventory API count all items and return half of them."""

    times: int

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if "product_id:in" not in request.query or "inventory" not in request.path or self.times <= 0:
            return None
        self.times -= 1
        reply = await request[ORIGINAL_REPLY]()
        assert isinstance(reply.body, bytes)
        body = json.loads(reply.body)
        return web.json_response(body | {"data": body["data"][::2]})


@dataclass(slots=True)
class RevokeInventoryScope:
    """The inventory scope is revoked after `replies` replies."""

    shop: OpenStore
    replies: int

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if "inventory" in request.path:
            self.replies -= 1
            self.shop.switches.inventory_scope = self.replies >= 0
        return None


def total_stock(shop: OpenStore) -> dict[str, int | None]:
    """Return the stock over all enabled locations, by item id."""
    return {item.item_id: item.stock for item in shop.catalog.sellable_items()}


async def test_stock_is_summed_over_all_enabled_locations(open_store: StoreFactory) -> None:
    """The catalog API returns only the default location; disabled locations and safety stock do not count."""
    async with open_store(products=40, locations=3) as shop:
        found = await shop.fetch()
        assert {number: variant.stock_quantity for number, variant in found.variants.items()} == total_stock(shop)
        assert not any(SCOPE in note for note in found.header.notes)


async def test_an_item_in_stock_only_at_another_location_is_available(open_store: StoreFactory) -> None:
    async with open_store(products=3, edge_cases=False, locations=4) as shop:
        variant = shop.catalog.update_variant(next(shop.catalog.rows()).variant_ids[0], stock=3)
        found = (await shop.fetch()).variants[str(variant.id)]
        assert (found.stock_quantity, found.available) == (3, True)


async def test_an_incremental_pass_reads_the_stock_of_all_locations(open_store: StoreFactory) -> None:
    async with open_store(products=20, edge_cases=False, locations=5) as shop:
        found = await shop.fetch(after=START_TIME)
        assert found.products == {}
        assert {number: level.stock_quantity for number, level in found.levels.items()} == total_stock(shop)


async def test_without_the_scope_stock_is_that_of_the_default_location_with_a_note(
    open_store: StoreFactory,
) -> None:
    async with open_store(products=20, edge_cases=False, locations=2) as shop:
        shop.switches.inventory_scope = False
        full, incremental = await shop.fetch(), await shop.fetch(after=START_TIME)
        stock = {number: variant.stock_quantity for number, variant in full.variants.items()}
        assert stock == {number: -(-(count or 0) // 2) for number, count in total_stock(shop).items()}
        assert stock == {number: level.stock_quantity for number, level in incremental.levels.items()}
        shop_info = await shop.platform.check(SHOP)
        for notes in (full.header.notes, incremental.header.notes, shop_info.notes):
            assert any(SCOPE in note and "default location" in note for note in notes)
        assert shop.calls()["inventory"] == 3


async def test_without_backorder_limits_the_inventory_policy_is_unspecified(open_store: StoreFactory) -> None:
    async with open_store(products=40) as shop:
        known = await shop.fetch()
        shop.switches.inventory_scope = False
        unknown = await shop.fetch()
        for found in (known, unknown):
            assert {variant.inventory_policy for variant in found.variants.values()} == {
                InventoryPolicy.UNSPECIFIED
            }


async def test_backorder_limits_set_the_inventory_policy(open_store: StoreFactory) -> None:
    async with open_store(products=40, backorders=True) as shop:
        found = await shop.fetch()
        special = found.products[str(shop.catalog.edge_case("on-backorder").id)]
        assert {(one.stock_quantity, one.inventory_policy, one.available) for one in special.variants} == {
            (0, InventoryPolicy.CONTINUE, True)
        }
        others = [one for one in found.variants.values() if one not in special.variants]
        assert {one.inventory_policy for one in others if one.stock_quantity is not None} == {InventoryPolicy.DENY}
        assert {number: one.stock_quantity for number, one in found.variants.items()} == total_stock(shop)


async def test_a_stock_list_shorter_than_it_counts_is_requested_again(open_store: StoreFactory) -> None:
    async with open_store(products=20, edge_cases=False) as shop:
        shop.store.add_fault(SHOP.domain, OmitHalfOfInventory(1))
        found = await shop.fetch()
        assert {number: variant.stock_quantity for number, variant in found.variants.items()} == total_stock(shop)
        assert found.end.notes == ()


async def test_missing_stock_is_noted_and_an_incremental_pass_does_not_overwrite_it(
    open_store: StoreFactory,
) -> None:
    async with open_store(products=20, edge_cases=False) as shop:
        shop.store.add_fault(SHOP.domain, OmitHalfOfInventory(100))
        full, incremental = await shop.fetch(), await shop.fetch(after=START_TIME)
        assert any("stock by location" in note for note in full.end.notes)
        assert any("stock by location" in note for note in incremental.end.notes)
        truth = total_stock(shop)
        assert incremental.levels
        assert all(truth[number] == level.stock_quantity for number, level in incremental.levels.items())


async def test_a_scope_revoked_during_a_pass_does_not_fail_it(open_store: StoreFactory) -> None:
    async with open_store(products=300, edge_cases=False) as shop:
        shop.store.add_fault(SHOP.domain, RevokeInventoryScope(shop, replies=2))
        found = await shop.fetch()
        assert len(found.products) == 300
        assert any("stock by location" in note for note in found.end.notes)


async def test_stock_is_read_in_pages_of_a_thousand_items(open_store: StoreFactory) -> None:
    async with open_store(products=250, edge_cases=False, variants=None) as shop:
        await shop.fetch()
        items = shop.catalog.variant_count
        # One of them checks the scope.
        assert shop.calls()["inventory"] <= 1 + -(-(items + 250) // 900)
