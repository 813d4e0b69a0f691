"""Reads over gRPC: tokens and positions travel through the client, and refusals say what to do."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_common.status import read_failure_now

from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.catalog_server import service
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld

REF = pb.ShopRef(platform=SHOP.platform, domain=SHOP.domain)


async def test_a_client_reads_all_items_and_then_what_changes(world: CatalogWorld, database_url: str) -> None:
    await world.sync(MemorySource([product(f"{n}", items=2) for n in range(3)]))
    async with service(database_url) as stub:
        request = pb.ListItemsRequest(shop=REF, page_size=4)
        first = await stub.ListItems(request)
        assert (len(first.items), first.position) == (4, 0)
        await world.sync(MemorySource([product("0", items=1), product("1", items=2), product("2", items=2)]))
        request.page_token = first.next_page_token
        last = await stub.ListItems(request)
        assert ([item.item_id for item in last.items], last.next_page_token) == (["2-1", "2-2"], "")
        assert last.incarnation == first.incarnation != ""
        request = pb.ListItemsRequest(
            shop=REF, after_position=last.position, incarnation=last.incarnation, include_deleted=True
        )
        changes = await stub.ListItems(request)
        assert [item.item_id for item in changes.items] == ["0-2"]
        assert changes.items[0].HasField("delete_time")
        assert changes.position == changes.items[0].feed_position > last.position


async def test_an_expired_position_names_what_the_shop_has(world: CatalogWorld, database_url: str) -> None:
    await world.sync(MemorySource([product("1")]))
    await world.execute("UPDATE shop_state SET feed_position = 20, feed_floor = 10")
    async with service(database_url) as stub:
        page = await stub.ListItems(pb.ListItemsRequest(shop=REF))
        failure = await refusal(stub.ListItems(pb.ListItemsRequest(shop=REF, after_position=9)))
        assert (failure.code, failure.reason) == (grpc.StatusCode.OUT_OF_RANGE, "POSITION_EXPIRED")
        assert failure.metadata == {"position": "20", "floor": "10", "incarnation": page.incarnation}
        assert failure.retry_after is None
        other = pb.ListItemsRequest(shop=REF, after_position=15, incarnation="01a225a7")
        assert (await refusal(stub.ListItems(other))).reason == "POSITION_EXPIRED"


async def test_pages_of_products_continue_where_the_message_was_full(
    world: CatalogWorld, database_url: str
) -> None:
    await world.sync(MemorySource([product(f"{n}", items=900) for n in range(4)], batch_size=1))
    async with service(database_url) as stub:
        request, found, page_count = pb.ListProductsRequest(shop=REF), list[pb.Product](), 0
        while page_count == 0 or request.page_token:
            page = await stub.ListProducts(request)
            assert page.ByteSize() < 2**20 + 1_000
            found += page.products
            request.page_token = page.next_page_token
            page_count += 1
        assert page_count > 1
        assert [(p.product_id, len(p.items)) for p in found] == [(f"{n}", 900) for n in range(4)]
        one = await stub.GetProduct(pb.GetProductRequest(shop=REF, product_id="2"))
        assert one.product == found[2]


@pytest.mark.parametrize("text", ["ab", "  ", "!!!", "a !"])
async def test_a_text_that_no_index_can_find_is_an_invalid_field(
    world: CatalogWorld, database_url: str, text: str
) -> None:
    await world.create_sync()
    async with service(database_url) as stub:
        for call in (
            stub.ListItems(pb.ListItemsRequest(shop=REF, text=text)),
            stub.ListProducts(pb.ListProductsRequest(shop=REF, text=text)),
        ):
            failure = await refusal(call)
            assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
            assert "text: must have at least 3 characters" in failure.message


async def test_a_search_that_the_database_cannot_do_is_refused(world: CatalogWorld, database_url: str) -> None:
    await world.create_sync()
    await world.execute("DROP EXTENSION IF EXISTS pg_trgm CASCADE")
    async with service(database_url) as stub:
        for call in (
            stub.ListItems(pb.ListItemsRequest(shop=REF, text="shirt")),
            stub.ListProducts(pb.ListProductsRequest(shop=REF, text="shirt")),
        ):
            failure = await refusal(call)
            assert (failure.code, failure.reason) == (
                grpc.StatusCode.FAILED_PRECONDITION,
                "TEXT_SEARCH_UNAVAILABLE",
            )
            assert "pg_trgm" in failure.message


async def refusal(call: Any) -> Any:
    """Return the failure of a call."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return read_failure_now(caught.value)
