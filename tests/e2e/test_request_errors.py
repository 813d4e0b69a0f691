"""Each wrong request fails with a code, a reason and the names of invalid fields; never with UNKNOWN."""

from __future__ import annotations

import base64
from collections.abc import Awaitable
from typing import Any
from uuid import uuid4

import grpc
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.connector.v1 import connector_service_pb2 as connector_pb
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from tests.e2e.conftest import System, details

SHOP = {"platform": "shopify", "domain": "demo.myshopify.com"}


async def rejected(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str, dict[str, Any]]:
    """Return the code, reason and details of the error that the call must fail with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    found = details(caught.value)
    assert found["ErrorInfo"].domain == "catalogsync"
    assert (caught.value.details() or "").startswith(f"{found['ErrorInfo'].reason}: ")
    return caught.value.code(), found["ErrorInfo"].reason, found


def update(shop: pb.ShopRef, **values: Any) -> pb.UpdateShopRequest:
    """Return a request that changes these fields."""
    return pb.UpdateShopRequest(
        shop=shop, update=pb.ShopUpdate(**values), update_mask=FieldMask(paths=list(values))
    )


async def first_message(call: Any) -> Any:
    try:
        async for message in call:
            return message
    finally:
        call.cancel()


@pytest.mark.parametrize(
    ("shop", "field"),
    [
        ({"platform": "amazon", "domain": "a.example"}, "shop.platform"),
        ({"platform": "", "domain": "a.example"}, "shop.platform"),
        ({"platform": "Shop ify", "domain": "a.example"}, "shop.platform"),
        ({"platform": "sh\u00f6p", "domain": "a.example"}, "shop.platform"),
        ({"platform": "shopify", "domain": ""}, "shop.domain"),
        ({"platform": "shopify", "domain": "not a domain"}, "shop.domain"),
        ({"platform": "shopify", "domain": "evil.com#.myshopify.com"}, "shop.domain"),
        ({"platform": "shopify", "domain": "evilmyshopify.com"}, "shop.domain"),
        ({"platform": "shopify", "domain": "demo.myshopify.com\n"}, "shop.domain"),
        ({"platform": "woocommerce", "domain": "127.0.0.1"}, "shop.domain"),
        ({"platform": "woocommerce", "domain": "https://a.example"}, "shop.domain"),
    ],
)
async def test_both_services_reject_an_invalid_shop_and_name_the_field(
    system: System, shop: dict[str, str], field: str
) -> None:
    for call in (
        system.catalog.StartSync(pb.StartSyncRequest(shop=pb.ShopRef(**shop))),
        system.connector.CheckShop(connector_pb.CheckShopRequest(shop=connector_pb.ShopRef(**shop))),
    ):
        code, reason, found = await rejected(call)
        assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        assert field in {violation.field for violation in found["BadRequest"].field_violations}


@pytest.mark.parametrize(
    ("shop", "message"),
    [
        ({"platform": "", "domain": "a.example"}, "shop.platform: is required"),
        (
            {"platform": "Shop ify", "domain": "a.example"},
            "shop.platform: 'Shop ify' is not the name of a platform",
        ),
        (
            {"platform": "AMAZON", "domain": "a.example"},
            "shop.platform: 'amazon' is not supported; supported platforms: ",
        ),
        ({"platform": "shopify", "domain": "a\u202eb"}, "shop.domain: 'a\\u202eb' is not a host name"),
    ],
)
async def test_all_methods_describe_an_invalid_shop_in_the_same_way(
    system: System, shop: dict[str, str], message: str
) -> None:
    for call in (
        system.catalog.StartSync(pb.StartSyncRequest(shop=pb.ShopRef(**shop))),
        system.catalog.GetStatus(pb.GetStatusRequest(shop=pb.ShopRef(**shop))),
        system.catalog.ListItems(pb.ListItemsRequest(shop=pb.ShopRef(**shop))),
        system.catalog.ListProducts(pb.ListProductsRequest(shop=pb.ShopRef(**shop))),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert (caught.value.details() or "").startswith(f"INVALID_REQUEST: {message}")


NO_SHOP_ID = "01a225a7-d61c-77e2-ad50-6dfcdfdafb22"


@pytest.mark.parametrize(
    ("shop", "field"),
    [
        ({}, "shop"),
        ({"shop_id": NO_SHOP_ID, **SHOP}, "shop"),
        ({"shop_id": NO_SHOP_ID, "platform": "shopify"}, "shop"),
        ({"shop_id": "demo"}, "shop.shop_id"),
        ({"shop_id": NO_SHOP_ID.upper()}, "shop.shop_id"),
    ],
)
async def test_a_shop_is_named_by_its_id_or_by_platform_and_domain(
    system: System, shop: dict[str, str], field: str
) -> None:
    ref = pb.ShopRef(**shop)
    for call in (
        system.catalog.StartSync(pb.StartSyncRequest(shop=ref)),
        system.catalog.GetStatus(pb.GetStatusRequest(shop=ref)),
        system.catalog.ListSyncs(pb.ListSyncsRequest(shop=ref)),
        system.catalog.GetShop(pb.GetShopRequest(shop=ref)),
        system.catalog.UpdateShop(update(ref, paused=True)),
        system.catalog.DeleteShop(pb.DeleteShopRequest(shop=ref)),
        system.catalog.GetItem(pb.GetItemRequest(shop=ref, item_id="1")),
        system.catalog.ListItems(pb.ListItemsRequest(shop=ref)),
        system.catalog.GetProduct(pb.GetProductRequest(shop=ref, product_id="1")),
        system.catalog.ListProducts(pb.ListProductsRequest(shop=ref)),
    ):
        code, reason, found = await rejected(call)
        assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        assert [violation.field for violation in found["BadRequest"].field_violations] == [field]


async def test_an_unknown_shop_id_is_not_found_and_registers_nothing(system: System) -> None:
    ref = pb.ShopRef(shop_id=NO_SHOP_ID)
    for call in (
        system.catalog.StartSync(pb.StartSyncRequest(shop=ref)),
        system.catalog.GetStatus(pb.GetStatusRequest(shop=ref)),
        system.catalog.ListSyncs(pb.ListSyncsRequest(shop=ref)),
        system.catalog.GetShop(pb.GetShopRequest(shop=ref)),
        system.catalog.UpdateShop(update(ref, paused=True)),
        system.catalog.DeleteShop(pb.DeleteShopRequest(shop=ref)),
    ):
        code, reason, found = await rejected(call)
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "SHOP_NOT_FOUND")
        assert dict(found["ErrorInfo"].metadata) == {"shop_id": NO_SHOP_ID}


async def test_a_registered_shop_is_read_and_synced_by_its_id(system: System) -> None:
    shop = (await system.sync("woocommerce", "new.example")).shop
    ref = pb.ShopRef(shop_id=shop.shop_id)
    status = await system.catalog.GetStatus(pb.GetStatusRequest(shop=ref))
    assert (status.shop.platform, status.shop.domain) == ("woocommerce", "new.example")
    page = await system.catalog.ListItems(pb.ListItemsRequest(shop=ref, page_size=1))
    item = await system.catalog.GetItem(pb.GetItemRequest(shop=ref, item_id=page.items[0].item_id))
    assert item.item == page.items[0]
    started = (await system.catalog.StartSync(pb.StartSyncRequest(shop=ref, mode=pb.Sync.MODE_FULL))).sync
    assert started.shop.shop_id == shop.shop_id
    await system.watch(started.sync_id)
    listed = await system.catalog.ListSyncs(pb.ListSyncsRequest(shop=ref, page_size=1))
    assert listed.syncs[0].sync_id == started.sync_id


async def test_the_case_of_a_platform_does_not_matter(system: System) -> None:
    await system.sync("shopify", "empty.myshopify.com")
    status = await system.catalog.GetStatus(
        pb.GetStatusRequest(shop=pb.ShopRef(platform="SHOPIFY", domain="Empty.MyShopify.com."))
    )
    assert (status.shop.platform, status.shop.domain) == ("shopify", "empty.myshopify.com")


async def test_each_method_reports_an_unknown_sync_as_not_found(system: System) -> None:
    sync_id = str(uuid4())
    for call in (
        system.catalog.GetSync(pb.GetSyncRequest(sync_id=sync_id)),
        first_message(system.catalog.WatchSync(pb.WatchSyncRequest(sync_id=sync_id))),
        system.catalog.ListSyncIssues(pb.ListSyncIssuesRequest(sync_id=sync_id)),
    ):
        code, reason, found = await rejected(call)
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "SYNC_NOT_FOUND")
        assert found["ResourceInfo"].resource_name == sync_id


async def test_an_unknown_shop_or_item_is_not_found(system: System) -> None:
    unknown = pb.ShopRef(platform="shopify", domain="never.myshopify.com")
    assert (await rejected(system.catalog.GetStatus(pb.GetStatusRequest(shop=unknown))))[1] == "SHOP_NOT_FOUND"
    assert (await rejected(system.catalog.ListItems(pb.ListItemsRequest(shop=unknown))))[1] == "SHOP_NOT_FOUND"
    await system.sync("shopify", "empty.myshopify.com")
    empty = pb.ShopRef(platform="shopify", domain="empty.myshopify.com")
    code, reason, _ = await rejected(system.catalog.GetItem(pb.GetItemRequest(shop=empty, item_id="4711")))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "ITEM_NOT_FOUND")
    request = pb.GetProductRequest(shop=empty, product_id="4711")
    code, reason, found = await rejected(system.catalog.GetProduct(request))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "PRODUCT_NOT_FOUND")
    assert dict(found["ErrorInfo"].metadata) == {"product_id": "4711"}


async def test_all_invalid_fields_are_named_in_one_error(system: System) -> None:
    request = pb.ListItemsRequest(
        shop=pb.ShopRef(platform="?", domain="?"), page_size=-1, sku="x" * 1000, text="ab", after_position=-1
    )
    _, _, found = await rejected(system.catalog.ListItems(request))
    fields = {violation.field for violation in found["BadRequest"].field_violations}
    assert fields == {"shop.platform", "shop.domain", "page_size", "sku", "text", "after_position"}


@pytest.mark.parametrize("token", ["x", "%%%", base64.urlsafe_b64encode(b'["f", [1]]').decode(), "é"])
async def test_an_invalid_page_token_is_rejected(system: System, token: str) -> None:
    await system.sync("shopify", "empty.myshopify.com")
    shop = pb.ShopRef(platform="shopify", domain="empty.myshopify.com")
    for call in (
        system.catalog.ListItems(pb.ListItemsRequest(shop=shop, page_token=token)),
        system.catalog.ListProducts(pb.ListProductsRequest(shop=shop, page_token=token)),
        system.catalog.ListSyncs(pb.ListSyncsRequest(page_token=token)),
    ):
        code, reason, found = await rejected(call)
        assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        assert [v.field for v in found["BadRequest"].field_violations] == ["page_token"]


async def test_a_page_token_of_another_query_is_rejected(system: System) -> None:
    await system.sync("woocommerce", "new.example")
    shop = pb.ShopRef(platform="woocommerce", domain="new.example")
    page = await system.catalog.ListItems(pb.ListItemsRequest(shop=shop, page_size=1))
    other = pb.ListItemsRequest(shop=shop, page_size=1, page_token=page.next_page_token, sku="x")
    assert (await rejected(system.catalog.ListItems(other)))[1] == "INVALID_REQUEST"


async def test_negative_numbers_and_malformed_ids_are_rejected(system: System) -> None:
    negative = pb.WatchSyncRequest(sync_id=str(uuid4()), after_revision=-1)
    too_many = pb.VerifyCatalogRequest(shop=pb.ShopRef(**SHOP), sample_size=1_001)
    no_uuid = pb.StartSyncRequest(shop=pb.ShopRef(**SHOP), request_id="order-4711")
    no_uuid_either = pb.ResumeSyncRequest(sync_id=str(uuid4()), request_id=uuid4().hex)
    for call, field in (
        (system.catalog.ListSyncs(pb.ListSyncsRequest(page_size=-5)), "page_size"),
        (system.catalog.GetSync(pb.GetSyncRequest(sync_id="7")), "sync_id"),
        (system.catalog.GetSync(pb.GetSyncRequest()), "sync_id"),
        (first_message(system.catalog.WatchSync(negative)), "after_revision"),
        (first_message(system.catalog.VerifyCatalog(too_many)), "sample_size"),
        (system.catalog.StartSync(no_uuid), "request_id"),
        (system.catalog.ResumeSync(no_uuid_either), "request_id"),
    ):
        code, reason, found = await rejected(call)
        assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        assert [v.field for v in found["BadRequest"].field_violations] == [field]


@pytest.mark.parametrize(
    ("intervals", "fields"),
    [
        ({"incremental_interval": Duration(seconds=-60)}, {"update.incremental_interval"}),
        ({"full_interval": Duration(nanos=-1)}, {"update.full_interval"}),
        ({"incremental_interval": Duration(seconds=59), "full_interval": Duration(seconds=367 * 86_400)}, None),
        ({"incremental_interval": Duration(seconds=1, nanos=-1), "full_interval": Duration(seconds=2**62)}, None),
    ],
)
async def test_an_interval_out_of_range_is_rejected_and_named(
    system: System, intervals: dict[str, Any], fields: set[str] | None
) -> None:
    code, reason, found = await rejected(system.catalog.UpdateShop(update(pb.ShopRef(**SHOP), **intervals)))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    named = {violation.field for violation in found["BadRequest"].field_violations}
    assert named == (fields or {"update.incremental_interval", "update.full_interval"})


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"update_mask": FieldMask(paths=["paused", "domain"])}, ["update_mask"]),
        ({"update_mask": FieldMask(paths=["incremental_interval.seconds"])}, ["update_mask"]),
        ({"update_mask": FieldMask(paths=["*"])}, ["update_mask"]),
        ({"update_mask": None}, ["update_mask"]),
        ({"update": None}, ["update"]),
        ({"update": pb.ShopUpdate(merchant_id="x" * 256)}, ["update.merchant_id"]),
    ],
)
async def test_an_update_names_fields_that_can_be_changed(
    system: System, fields: dict[str, Any], names: list[str]
) -> None:
    valid = {"update": pb.ShopUpdate(), "update_mask": FieldMask(paths=["merchant_id"])}
    request = pb.UpdateShopRequest(shop=pb.ShopRef(**SHOP), **(valid | fields))
    code, reason, found = await rejected(system.catalog.UpdateShop(request))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert [violation.field for violation in found["BadRequest"].field_violations] == names


async def test_update_shop_and_get_status_return_the_schedule(system: System) -> None:
    unknown = pb.ShopRef(platform="shopify", domain="never.myshopify.com")
    assert (await rejected(system.catalog.UpdateShop(update(unknown, paused=True))))[1] == "SHOP_NOT_FOUND"
    await system.sync("shopify", "empty.myshopify.com")
    shop = pb.ShopRef(platform="shopify", domain="empty.myshopify.com")
    request = update(shop, full_interval=Duration(seconds=86_400))
    schedule = (await system.catalog.UpdateShop(request)).shop.schedule
    assert (schedule.full_interval.seconds, schedule.full_is_default) == (86_400, False)
    assert (schedule.incremental_interval.seconds, schedule.incremental_is_default) == (0, True)
    assert schedule.HasField("next_due_time")
    assert (await system.catalog.GetStatus(pb.GetStatusRequest(shop=shop))).schedule == schedule
    reset = await system.catalog.UpdateShop(update(shop, full_interval=None))
    assert not reset.shop.schedule.HasField("next_due_time")


async def test_a_request_id_of_another_request_is_rejected(system: System) -> None:
    request_id = str(uuid4())
    first = await system.start("shopify", "empty.myshopify.com", request_id=request_id)
    for same in (request_id, request_id.upper()):
        assert (await system.start("shopify", "empty.myshopify.com", request_id=same)).sync_id == first.sync_id
    code, reason, _ = await rejected(system.start("shopify", "demo.myshopify.com", request_id=request_id))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    await system.watch(first.sync_id)


async def test_the_error_of_a_second_start_names_the_running_sync(system: System) -> None:
    first = await system.start("woocommerce", "silent.example")
    code, reason, found = await rejected(system.start("woocommerce", "silent.example"))
    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "SYNC_ALREADY_RUNNING")
    assert found["ErrorInfo"].metadata["sync_id"] == found["ResourceInfo"].resource_name == first.sync_id
    await system.watch(first.sync_id)


async def test_an_ended_sync_is_neither_cancelled_nor_resumed(system: System) -> None:
    sync = await system.sync("shopify", "empty.myshopify.com")
    code, reason, found = await rejected(system.catalog.CancelSync(pb.CancelSyncRequest(sync_id=sync.sync_id)))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SYNC_NOT_CANCELLABLE")
    assert found["ErrorInfo"].metadata["state"] == "SUCCEEDED"
    code, reason, _ = await rejected(system.catalog.ResumeSync(pb.ResumeSyncRequest(sync_id=sync.sync_id)))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SYNC_NOT_RESUMABLE")
    for call in (
        system.catalog.CancelSync(pb.CancelSyncRequest(sync_id=str(uuid4()))),
        system.catalog.ResumeSync(pb.ResumeSyncRequest(sync_id=str(uuid4()))),
    ):
        assert (await rejected(call))[1] == "SYNC_NOT_FOUND"


async def test_a_revision_from_another_database_is_out_of_range(system: System) -> None:
    sync = await system.sync("shopify", "empty.myshopify.com")
    call = system.catalog.WatchSync(pb.WatchSyncRequest(sync_id=sync.sync_id, after_revision=10_000))
    code, reason, _ = await rejected(first_message(call))
    assert (code, reason) == (grpc.StatusCode.OUT_OF_RANGE, "REVISION_IN_FUTURE")
