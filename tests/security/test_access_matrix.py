"""Every method times every kind of caller times own and foreign shop: allowed exactly as the contract says."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_common.principal import PrincipalKind
from catalogsync_common.status import ReceivedFailure
from google.protobuf.message import Message

from tests.security.methods import METHODS, Method
from tests.security.target import Metadata, Target, TargetShop

Shops = tuple[TargetShop, TargetShop]

CATALOG_METHODS = [method for method in METHODS if method.is_of_catalog]
CONNECTOR_METHODS = [method for method in METHODS if not method.is_of_catalog]
CLIENT_METHODS = [method for method in CATALOG_METHODS if PrincipalKind.CLIENT in method.rule.principals]
SHOP_METHODS = [method for method in CLIENT_METHODS if method.rule.shop_field]
DENIED = {"UNAUTHENTICATED", "TOKEN_EXPIRED", "PERMISSION_DENIED"}


def requests_of(method: Method, shop: TargetShop) -> list[Message]:
    """Return valid requests about the shop, one for each way to name it."""
    if method.rule.shop_field == "sync_id":
        return [method.request_type(sync_id=shop.sync_id)]
    names: list[dict[str, Any]] = [{"shop": ref} for ref in shop.refs] if method.rule.shop_field else [{}]
    by_method: dict[str, dict[str, Any]] = {
        "GetProduct": {"product_id": shop.product_id},
        "GetItem": {"item_id": shop.item_id},
        "RegisterShop": {"platform": shop.platform, "domain": shop.domain},
        "GetAnalysis": {"item_id": shop.item_id},
        "ListAnalyses": {"analyzer": "quality"},
        "RequeueTasks": {"analyzer": "quality", "dead": True},
        "UpdateShop": {"update": pb.ShopUpdate(), "update_mask": {"paths": ["paused"]}},
    }
    more = by_method.get(str(method), {})
    return [method.request_type(**name, **more) for name in names]


def reason(result: Message | ReceivedFailure) -> str:
    """Return the reason of a failure; "" of a response."""
    if isinstance(result, Message):
        return ""
    return result.reason or result.code.name


def is_denied(result: Message | ReceivedFailure) -> bool:
    return reason(result) in DENIED


@pytest.mark.parametrize("method", METHODS, ids=str)
async def test_nobody_calls_without_credentials(
    method: Method, catalog_channel: grpc.aio.Channel, connector_channel: grpc.aio.Channel
) -> None:
    channel = catalog_channel if method in CATALOG_METHODS else connector_channel
    assert reason(await method.call(channel, b"")) == "UNAUTHENTICATED"


@pytest.mark.parametrize("method", CATALOG_METHODS, ids=str)
async def test_the_catalog_admits_the_kinds_that_the_contract_names(
    method: Method, target: Target, shops: Shops, catalog_channel: grpc.aio.Channel
) -> None:
    own = shops[0]
    callers: dict[PrincipalKind, Metadata] = {
        PrincipalKind.CLIENT: target.client(domain=own.domain),
        PrincipalKind.SERVICE: target.service,
        PrincipalKind.OPERATOR: target.operator(),
    }
    for kind, metadata in callers.items():
        # An empty request reaches the method, or not.
        denied = is_denied(await method.call(catalog_channel, b"", metadata))
        assert denied == (kind not in method.rule.principals), kind


@pytest.mark.parametrize("method", CONNECTOR_METHODS, ids=str)
async def test_the_connector_admits_known_services_only(
    method: Method, target: Target, shops: Shops, connector_channel: grpc.aio.Channel
) -> None:
    for stranger in (target.client(domain=shops[0].domain), target.operator(), target.service):
        assert reason(await method.call(connector_channel, b"", stranger)) == "UNAUTHENTICATED"
    assert not is_denied(await method.call(connector_channel, b"", target.connector_service))


@pytest.mark.parametrize("method", CATALOG_METHODS, ids=str)
async def test_a_token_needs_the_scope_of_the_method(
    method: Method, target: Target, shops: Shops, catalog_channel: grpc.aio.Channel
) -> None:
    others = {"catalog:read", "catalog:sync", "catalog:manage", "bff:call"} - {method.rule.scope}
    for metadata in (target.operator(others), target.client(scopes=others, domain=shops[0].domain)):
        assert reason(await method.call(catalog_channel, b"", metadata)) == "PERMISSION_DENIED"


@pytest.mark.parametrize("method", [one for one in SHOP_METHODS if str(one) != "ListSyncs"], ids=str)
async def test_a_client_reaches_its_own_shop_and_a_foreign_one_does_not_exist(
    method: Method, target: Target, shops: Shops, catalog_channel: grpc.aio.Channel
) -> None:
    own, foreign = shops
    for client in (target.client(domain=own.domain), target.client(merchant_id=own.merchant_id)):
        for request in requests_of(method, own):
            assert not reason(await method.call(catalog_channel, request, client)).endswith("NOT_FOUND"), request
        for request in requests_of(method, foreign):
            result = await method.call(catalog_channel, request, client)
            assert isinstance(result, ReceivedFailure)
            assert result.reason == ("SYNC_NOT_FOUND" if method.rule.shop_field == "sync_id" else "SHOP_NOT_FOUND")


@pytest.mark.parametrize("method", SHOP_METHODS, ids=str)
async def test_a_foreign_shop_looks_like_one_that_does_not_exist(
    method: Method, target: Target, shops: Shops, catalog_channel: grpc.aio.Channel
) -> None:
    own, foreign = shops
    missing = TargetShop(
        platform=foreign.platform,
        domain="nobody.example",
        merchant_id="",
        shop_id=str(uuid.uuid4()),
        sync_id=str(uuid.uuid4()),
        product_id=foreign.product_id,
        item_id=foreign.item_id,
    )
    client = target.client(merchant_id=own.merchant_id)
    for there, nowhere in zip(requests_of(method, foreign), requests_of(method, missing), strict=True):
        seen = [await method.call(catalog_channel, request, client) for request in (there, nowhere)]
        texts = [_without_names(result, shop) for result, shop in zip(seen, (foreign, missing), strict=True)]
        assert texts[0] == texts[1]


def _without_names(result: Message | ReceivedFailure, shop: TargetShop) -> str:
    assert isinstance(result, ReceivedFailure)
    text = f"{result.code} {result.reason} {result.message} {sorted(result.metadata.values())}"
    for name in (shop.shop_id, shop.sync_id, shop.domain):
        text = text.replace(name, "NAME")
    return text


async def test_a_client_lists_its_own_shops_only(
    target: Target, shops: Shops, catalog_channel: grpc.aio.Channel
) -> None:
    own, foreign = shops
    (method,) = (method for method in METHODS if str(method) == "ListShops")

    async def listed(metadata: Metadata, **filters: Any) -> list[str]:
        result = await method.call(catalog_channel, pb.ListShopsRequest(**filters), metadata)
        assert isinstance(result, pb.ListShopsResponse), result
        return [details.shop.shop_id for details in result.shops]

    for client in (target.client(domain=own.domain), target.client(merchant_id=own.merchant_id)):
        assert await listed(client) == [own.shop_id]
        assert await listed(client, merchant_id=foreign.merchant_id) == []
        assert await listed(client, platform=foreign.platform) == []
    assert {own.shop_id, foreign.shop_id} <= set(await listed(target.operator()))


async def test_a_client_must_name_the_shop_whose_syncs_it_lists(
    target: Target, shops: Shops, catalog_channel: grpc.aio.Channel
) -> None:
    (method,) = (method for method in METHODS if str(method) == "ListSyncs")
    client = target.client(domain=shops[0].domain)
    result = await method.call(catalog_channel, pb.ListSyncsRequest(), client)
    assert isinstance(result, ReceivedFailure)
    assert (result.reason, result.message.partition(":")[0]) == ("INVALID_REQUEST", "shop")


async def test_a_merchant_cannot_register_a_shop_by_starting_a_sync(
    target: Target, shops: Shops, catalog_channel: grpc.aio.Channel
) -> None:
    (method,) = (method for method in METHODS if str(method) == "StartSync")
    request = pb.StartSyncRequest(shop=pb.ShopRef(platform="woocommerce", domain="unclaimed.example"))
    client = target.client(merchant_id=shops[0].merchant_id)
    assert reason(await method.call(catalog_channel, request, client)) == "SHOP_NOT_FOUND"


async def test_a_service_that_passes_on_a_client_token_acts_as_that_client(
    target: Target, shops: Shops, catalog_channel: grpc.aio.Channel
) -> None:
    own, foreign = shops
    (method,) = (method for method in METHODS if str(method) == "GetShop")
    both = (*target.service, *target.client(domain=own.domain))
    assert reason(await method.call(catalog_channel, pb.GetShopRequest(shop=own.refs[0]), both)) == ""
    assert reason(await method.call(catalog_channel, pb.GetShopRequest(shop=foreign.refs[0]), both)) == (
        "SHOP_NOT_FOUND"
    )
    wrong = (("x-service-secret", "tester:" + "x" * 64), *target.client(domain=own.domain))
    assert reason(await method.call(catalog_channel, pb.GetShopRequest(shop=own.refs[0]), wrong)) == (
        "UNAUTHENTICATED"
    )
