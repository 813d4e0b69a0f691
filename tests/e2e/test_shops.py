"""The life of a shop over gRPC: registered, listed, changed, synced, deleted, registered again as a new one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from typing import Any

import grpc
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask

from tests.e2e.conftest import System, details
from tests.waiting import until_found, within_timeout

NEW = {"platform": "woocommerce", "domain": "new.example"}
NEW_REF = pb.ShopRef(**NEW)


async def reason_of(call: Awaitable[Any]) -> str:
    """Return the reason of the error that the call must fail with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return str(details(caught.value)["ErrorInfo"].reason)


async def delete(system: System, ref: pb.ShopRef) -> pb.ShopDeletion:
    """Delete the shop and return the deletion after its end."""
    begun = (await system.catalog.DeleteShop(pb.DeleteShopRequest(shop=ref))).deletion
    by_id = pb.DeleteShopRequest(shop=pb.ShopRef(shop_id=begun.shop.shop_id))

    async def ended() -> pb.ShopDeletion | None:
        deletion = (await system.catalog.DeleteShop(by_id)).deletion
        return deletion if deletion.HasField("end_time") else None

    return await until_found(ended)


@pytest.fixture(autouse=True)
async def clean(system: System) -> AsyncIterator[None]:
    """Delete the shop before and after each test: other tests use it too."""
    for step in range(2):
        with suppress(grpc.aio.AioRpcError):
            await delete(system, NEW_REF)
        if step == 0:
            yield


async def test_a_shop_is_registered_shown_listed_and_changed(system: System) -> None:
    request = pb.RegisterShopRequest(**NEW, merchant_id="acme", display_name="Acme")
    registered = (await system.catalog.RegisterShop(request)).shop
    assert (registered.shop.merchant_id, registered.shop.display_name) == ("acme", "Acme")
    assert registered.connection.state == pb.ConnectionHealth.STATE_UNSPECIFIED
    assert registered.HasField("create_time")
    assert (await system.catalog.GetShop(pb.GetShopRequest(shop=NEW_REF))).shop == registered
    of_merchant = await system.catalog.ListShops(pb.ListShopsRequest(merchant_id="acme"))
    assert list(of_merchant.shops) == [registered]
    rival = pb.RegisterShopRequest(**NEW, merchant_id="rival")
    assert await reason_of(system.catalog.RegisterShop(rival)) == "SHOP_ALREADY_REGISTERED"
    change = pb.UpdateShopRequest(
        shop=NEW_REF,
        update=pb.ShopUpdate(merchant_id="rival"),
        update_mask=FieldMask(paths=["merchant_id", "display_name"]),
    )
    changed = (await system.catalog.UpdateShop(change)).shop
    assert (changed.shop.merchant_id, changed.shop.display_name) == ("rival", "")
    assert (await system.catalog.RegisterShop(rival)).shop == changed
    unknown = pb.RegisterShopRequest(platform="amazon", domain="a.example")
    assert await reason_of(system.catalog.RegisterShop(unknown)) == "INVALID_REQUEST"


async def test_shops_are_listed_across_pages(system: System) -> None:
    for domain in ("one.example", "two.example", "three.example"):
        await system.catalog.RegisterShop(
            pb.RegisterShopRequest(platform="woocommerce", domain=domain, merchant_id="paged")
        )
    listed: list[str] = []
    request = pb.ListShopsRequest(merchant_id="paged", platform="WooCommerce", page_size=2)
    while True:
        page = await system.catalog.ListShops(request)
        listed += [shop.shop.shop_id for shop in page.shops]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert listed == sorted(set(listed))
    assert len(listed) == 3
    first = await system.catalog.ListShops(pb.ListShopsRequest(page_size=1))
    other_filter = pb.ListShopsRequest(merchant_id="paged", page_token=first.next_page_token)
    assert await reason_of(system.catalog.ListShops(other_filter)) == "INVALID_REQUEST"


async def test_a_deleted_shop_is_counted_gone_and_registered_again_as_a_new_one(system: System) -> None:
    sync = await system.sync("woocommerce", "new.example")
    assert sync.state == pb.Sync.STATE_SUCCEEDED
    status = await system.catalog.GetStatus(pb.GetStatusRequest(shop=NEW_REF))
    deletion = await delete(system, NEW_REF)
    assert (deletion.product_count, deletion.item_count) == (status.product_count, status.item_count)
    assert deletion.sync_count == 1
    by_id = pb.ShopRef(shop_id=sync.shop.shop_id)
    for ref in (NEW_REF, by_id):
        assert await reason_of(system.catalog.GetShop(pb.GetShopRequest(shop=ref))) == "SHOP_NOT_FOUND"
        assert await reason_of(system.catalog.GetStatus(pb.GetStatusRequest(shop=ref))) == "SHOP_NOT_FOUND"
    assert await reason_of(system.catalog.GetSync(pb.GetSyncRequest(sync_id=sync.sync_id))) == "SYNC_NOT_FOUND"
    again = (await system.catalog.RegisterShop(pb.RegisterShopRequest(**NEW))).shop
    assert again.shop.shop_id != sync.shop.shop_id
    repeated = await system.catalog.DeleteShop(pb.DeleteShopRequest(shop=by_id))
    assert repeated.deletion == deletion


async def test_a_watch_of_a_sync_whose_shop_is_deleted_ends_with_an_error(system: System) -> None:
    silent = pb.ShopRef(platform="woocommerce", domain="silent.example")
    started = await system.start(silent.platform, silent.domain)

    async def watch_and_delete() -> None:
        deletion = None
        async for message in system.catalog.WatchSync(pb.WatchSyncRequest(sync_id=started.sync_id)):
            if deletion is None and message.sync.state == pb.Sync.STATE_RUNNING:
                deletion = await system.catalog.DeleteShop(pb.DeleteShopRequest(shop=silent))

    assert await reason_of(within_timeout(watch_and_delete())) == "SYNC_NOT_FOUND"
    await delete(system, pb.ShopRef(shop_id=started.shop.shop_id))
