"""A client acts on its own shops only, and the memory of who owns what is short and bounded."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import copy_context
from typing import Any
from uuid import UUID

import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_common.failure import Failure
from catalogsync_common.principal import SYSTEM, Principal, PrincipalKind, acting_as

from catalog_svc.domain.ids import new_shop_id, sync_id_of
from catalog_svc.domain.shop import Shop, ShopKey, ShopRef
from catalog_svc.domain.status import ShopFilter
from catalog_svc.rpc import shop_access
from catalog_svc.rpc.shop_access import OwnShops, authorized_shop, restricted

MINE = Shop(shop_id=new_shop_id(), key=ShopKey("shopify", "mine.myshopify.com"), merchant_id="m-1")
OTHER = Shop(shop_id=new_shop_id(), key=ShopKey("shopify", "other.myshopify.com"), merchant_id="m-2")
OWNERLESS = Shop(shop_id=new_shop_id(), key=ShopKey("shopify", "ownerless.myshopify.com"))
DOMAIN_CLIENT = Principal(kind=PrincipalKind.CLIENT, name="mine", domain=MINE.key.domain)
MERCHANT_CLIENT = Principal(kind=PrincipalKind.CLIENT, name="m-1", merchant_id="m-1")


class Directory:
    """A `Shops` that counts its look-ups."""

    def __init__(self, *shops: Shop) -> None:
        self.shops = list(shops)
        self.lookups = 0

    async def find(self, ref: ShopRef) -> Shop | None:
        self.lookups += 1
        return next((shop for shop in self.shops if ref in (shop.shop_id, shop.key)), None)

    async def find_deleting(self, ref: ShopRef) -> UUID | None:
        return None


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def by_id(shop: Shop) -> pb.GetShopRequest:
    return pb.GetShopRequest(shop=pb.ShopRef(shop_id=str(shop.shop_id)))


def by_key(shop: Shop) -> pb.GetShopRequest:
    return pb.GetShopRequest(shop=pb.ShopRef(platform="shopify", domain=shop.key.domain))


async def reason(own: OwnShops, principal: Principal, request: Any, field: str = "shop") -> str:
    try:
        await own.check(principal, request, field)
    except Failure as failure:
        return failure.reason
    return ""


@pytest.mark.parametrize("client", [DOMAIN_CLIENT, MERCHANT_CLIENT])
@pytest.mark.parametrize("named", [by_id, by_key])
async def test_own_shops_pass_and_others_do_not_exist(client: Principal, named: Any) -> None:
    own = OwnShops(Directory(MINE, OTHER, OWNERLESS))
    assert await reason(own, client, named(MINE)) == ""
    for foreign in (OTHER, OWNERLESS):
        assert await reason(own, client, named(foreign)) == "SHOP_NOT_FOUND"


async def test_a_sync_is_its_shops() -> None:
    own = OwnShops(Directory(MINE, OTHER))
    for shop, expected in ((MINE, ""), (OTHER, "SYNC_NOT_FOUND")):
        request = pb.GetSyncRequest(sync_id=str(sync_id_of(shop.shop_id, 7)))
        assert await reason(own, MERCHANT_CLIENT, request, "sync_id") == expected


async def test_a_shop_without_a_merchant_belongs_to_no_merchant() -> None:
    nobody = Principal(kind=PrincipalKind.CLIENT, name="")
    assert await reason(OwnShops(Directory(OWNERLESS)), nobody, by_id(OWNERLESS)) == "SHOP_NOT_FOUND"


async def test_a_call_is_restricted_to_the_shop_that_was_checked() -> None:
    own = OwnShops(Directory(MINE))
    assert authorized_shop() is None
    await own.check(MERCHANT_CLIENT, by_id(MINE), "shop")
    assert authorized_shop() == MINE.shop_id
    shop_access._authorized_shop.set(None)


async def test_the_own_domain_may_be_unregistered_and_a_merchants_shop_may_not() -> None:
    own = OwnShops(Directory())
    assert await reason(own, DOMAIN_CLIENT, by_key(MINE)) == ""
    assert await reason(own, MERCHANT_CLIENT, by_key(MINE)) == "SHOP_NOT_FOUND"


@pytest.mark.parametrize(
    "request_",
    [
        pb.ListSyncsRequest(),
        pb.ListSyncsRequest(shop=pb.ShopRef()),
        pb.ListSyncsRequest(shop=pb.ShopRef(shop_id="1")),
        pb.ListSyncsRequest(shop=pb.ShopRef(platform="shopify", domain="MINE.myshopify.com\n")),
    ],
    ids=str,
)
async def test_a_missing_or_malformed_shop_is_an_invalid_request(request_: Any) -> None:
    assert await reason(OwnShops(Directory(MINE)), DOMAIN_CLIENT, request_) == "INVALID_REQUEST"


async def test_a_shop_is_remembered_for_ten_seconds() -> None:
    directory, clock = Directory(MINE), Clock()
    own = OwnShops(directory, monotonic=clock)
    for _ in range(5):
        assert await reason(own, MERCHANT_CLIENT, by_id(MINE)) == ""
    assert directory.lookups == 1
    directory.shops = [Shop(shop_id=MINE.shop_id, key=MINE.key, merchant_id="m-2")]
    clock.now = 10.0
    assert await reason(own, MERCHANT_CLIENT, by_id(MINE)) == "SHOP_NOT_FOUND"


async def test_unknown_shops_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = Directory()
    own = OwnShops(directory)
    assert await reason(own, MERCHANT_CLIENT, by_id(MINE)) == "SHOP_NOT_FOUND"
    directory.shops = [MINE]
    assert await reason(own, MERCHANT_CLIENT, by_id(MINE)) == ""


@pytest.mark.parametrize(
    ("principal", "asked", "filtered"),
    [
        (SYSTEM, {"merchant_id": "m-9"}, {"merchant_id": "m-9"}),
        (DOMAIN_CLIENT, {"merchant_id": "m-9"}, {"merchant_id": "m-9", "domain": MINE.key.domain}),
        (MERCHANT_CLIENT, {}, {"merchant_id": "m-1"}),
        (
            MERCHANT_CLIENT,
            {"merchant_id": "m-1", "platform": "shopify"},
            {"merchant_id": "m-1", "platform": "shopify"},
        ),
        (MERCHANT_CLIENT, {"merchant_id": "m-2"}, None),
    ],
)
def test_lists_of_shops_are_restricted_to_the_clients_own(
    principal: Principal, asked: Mapping[str, Any], filtered: Mapping[str, Any] | None
) -> None:
    with acting_as(principal):
        assert restricted(ShopFilter(**asked)) == (None if filtered is None else ShopFilter(**filtered))


def test_contexts_of_calls_are_separate() -> None:
    """Each gRPC call is a task, whose context is a copy: what it sets ends with it."""
    copy_context().run(shop_access._authorized_shop.set, MINE.shop_id)
    assert authorized_shop() is None
