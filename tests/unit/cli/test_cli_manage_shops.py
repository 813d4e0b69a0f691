"""`catalogsync shops` as a process, against a fake catalog on a real socket."""

from __future__ import annotations

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import ConnectionHealth, Item, Shop, Sync, WebhookHealth
from catalogsync.errors.v1.error_reason_pb2 import (
    ERROR_REASON_SOURCE_FORBIDDEN,
    ERROR_REASON_SOURCE_UNAUTHORIZED,
)

from tests.fakes.catalog_service import FailureWithReason, FakeCatalog
from tests.unit.cli.conftest import CommandLine

NAME = "shopify:demo.myshopify.com"


@pytest.fixture
def registered(catalog: FakeCatalog, shop: Shop) -> Shop:
    return catalog.register(shop, merchant_id="acme", display_name="Demo")


async def test_a_shop_is_registered_with_its_merchant_and_name(catalog: FakeCatalog, run: CommandLine) -> None:
    result = await run("shops", "register", NAME, "--merchant", "acme", "--name", "Acme EU")
    assert result.code == 0
    stored = catalog.shops[NAME]
    for text in (NAME, stored.shop_id, "acme", "Acme EU", "unknown until the first sync has ended"):
        assert text in result.out
    again = await run("shops", "register", NAME, "--json")
    assert again.documents[0]["shop"]["shopId"] == stored.shop_id


@pytest.mark.usefixtures("registered")
async def test_a_shop_of_another_merchant_is_named_with_the_command_that_shows_it(
    catalog: FakeCatalog, run: CommandLine
) -> None:
    result = await run("shops", "register", NAME, "--merchant", "rival")
    assert (result.code, result.out) == (5, "")
    assert "[SHOP_ALREADY_REGISTERED]" in result.err
    assert f"shops show {catalog.shops[NAME].shop_id}" in result.err


async def test_a_shop_is_shown_by_name_and_by_id(catalog: FakeCatalog, run: CommandLine, registered: Shop) -> None:
    catalog.connections[NAME] = ConnectionHealth(
        state=ConnectionHealth.STATE_BROKEN, reason=ERROR_REASON_SOURCE_UNAUTHORIZED, message="connect it again"
    )
    by_name = await run("shops", "show", NAME)
    for text in ("BROKEN: connect it again [SOURCE_UNAUTHORIZED]", "2023-11-14 22:13:20Z", "on request only"):
        assert text in by_name.out
    assert (await run("shops", "show", registered.shop_id.upper())).out == by_name.out
    assert (await run("shops", "show", "shopify:other.myshopify.com")).code == 3


async def test_the_state_of_the_webhooks_is_shown(
    catalog: FakeCatalog, run: CommandLine, registered: Shop
) -> None:
    assert "Webhooks" not in (await run("shops", "show", NAME)).out
    silent = WebhookHealth(state=WebhookHealth.STATE_SILENT)
    silent.unannounced_change_time.FromSeconds(1_700_000_000)
    silent.last_delivery_time.FromSeconds(1_600_000_000)
    catalog.webhooks[NAME] = silent
    shown = (await run("shops", "show", NAME)).out
    assert "SILENT, unannounced changes were found 2023-11-14 22:13:20Z" in shown
    assert "2020-09-13 12:26:40Z" in shown
    catalog.webhooks[NAME] = WebhookHealth(
        state=WebhookHealth.STATE_FAILING,
        reason=ERROR_REASON_SOURCE_FORBIDDEN,
        message="the key may only read",
    )
    assert "FAILING: the key may only read [SOURCE_FORBIDDEN]" in (await run("shops", "show", NAME)).out


async def test_shops_are_listed_page_by_page_with_filters(catalog: FakeCatalog, run: CommandLine) -> None:
    for number in range(510):
        shop = Shop(platform="shopify", domain=f"shop-{number}.myshopify.com")
        catalog.register(shop, merchant_id="acme" if number % 2 else "rival")
    broken = catalog.register(Shop(platform="woocommerce", domain="store.example"), merchant_id="acme")
    catalog.connections["woocommerce:store.example"] = ConnectionHealth(state=ConnectionHealth.STATE_BROKEN)
    everything = await run("shops", "list", "--limit", "600", "--json")
    assert len({document["shop"]["shopId"] for document in everything.documents}) == 511
    for options, count in (
        (("--merchant", "acme"), 256),
        (("--platform", "shopify"), 510),
        (("--merchant", "acme", "--platform", "shopify"), 255),
    ):
        assert len((await run("shops", "list", *options, "--limit", "600", "--json")).documents) == count
    result = await run("shops", "list", "--state", "broken")
    assert len(result.out.splitlines()) == 2
    for text in (broken.shop_id, "woocommerce:store.example", "acme", "BROKEN"):
        assert text in result.out
    assert "more than 50" in (await run("shops", "list")).err
    assert (await run("shops", "list", "--state", "unspecified")).code == 2


async def test_an_update_sends_only_what_is_given(
    catalog: FakeCatalog, run: CommandLine, registered: Shop
) -> None:
    assert "Renamed" in (await run("shops", "update", NAME, "--name", "Renamed")).out
    assert (registered.display_name, registered.merchant_id) == ("Renamed", "acme")
    document = (await run("shops", "update", registered.shop_id, "--merchant", "", "--json")).documents[0]
    assert (document["shop"]["merchantId"], document["shop"]["displayName"]) == ("", "Renamed")
    before = len(catalog.requests)
    assert (await run("shops", "update", NAME)).code == 2
    assert len(catalog.requests) == before


async def test_a_deletion_waits_for_the_end_and_prints_what_was_deleted(
    catalog: FakeCatalog, run: CommandLine, registered: Shop
) -> None:
    catalog.items[NAME] = [Item(item_id=str(n), product_id=str(n // 2)) for n in range(4)]
    catalog.add_sync(registered, state=Sync.STATE_SUCCEEDED)
    result = await run("shops", "delete", NAME, "--yes", "--wait")
    assert result.code == 0
    lines = dict(line.rsplit("  ", 1) for line in result.out.splitlines())
    counts = {name.strip(): value.strip() for name, value in lines.items() if name.startswith("Deleted")}
    assert counts == {
        "Deleted products": "2",
        "Deleted items": "4",
        "Deleted syncs": "1",
        "Deleted issues": "0",
    }
    assert (catalog.syncs, catalog.items) == ({}, {})
    # The name may belong to a new shop by then: it is asked for by its id.
    methods = [request.shop for method, request, _ in catalog.requests if method == "DeleteShop"]
    assert [ref.shop_id for ref in methods] == ["", registered.shop_id]


async def test_a_deletion_without_wait_says_how_to_see_the_progress(run: CommandLine, registered: Shop) -> None:
    result = await run("shops", "delete", NAME, "--yes")
    assert result.code == 0
    assert "not yet" in result.out
    assert f"shops delete {registered.shop_id} --yes" in result.err
    repeated = await run("shops", "delete", registered.shop_id, "--yes", "--json")
    assert repeated.documents[0]["endTime"] is not None


DOMAIN = NAME.partition(":")[2]


@pytest.mark.parametrize(
    ("answer", "code"),
    [(f"{DOMAIN}\n", 0), (f" {DOMAIN.upper()} \n", 0), ("y\n", 130), (f"{NAME}\n", 130), ("", 130)],
)
@pytest.mark.parametrize("name", ["delete", "remove"])
async def test_a_deletion_says_what_it_deletes_and_asks_for_the_domain(
    catalog: FakeCatalog, run: CommandLine, registered: Shop, answer: str, code: int, name: str
) -> None:
    catalog.items[NAME] = [Item(item_id=str(n), product_id=str(n // 2)) for n in range(4)]
    result = await run.answer(answer, "shops", name, NAME, "--json")
    assert result.code == code
    assert f"This deletes {NAME} of merchant {registered.merchant_id} (shop id {registered.shop_id})" in result.err
    assert "4 items" in result.err
    assert f"Type {DOMAIN} to delete it" in result.err
    deleted = [request.shop.shop_id for method, request, _ in catalog.requests if method == "DeleteShop"]
    # The shop that was confirmed, not another one that has got its name.
    assert deleted == ([registered.shop_id] if code == 0 else [])


async def test_the_deletion_of_an_unknown_shop_asks_nothing(run: CommandLine) -> None:
    result = await run.answer("", "shops", "remove", "shopify:unknown.myshopify.com")
    assert result.code == 3
    assert "Type" not in result.err


@pytest.mark.usefixtures("registered")
async def test_a_watched_deletion_prints_its_progress(catalog: FakeCatalog, run: CommandLine) -> None:
    catalog.items[NAME] = [Item(item_id="1", product_id="1")]
    result = await run("shops", "remove", NAME, "--yes", "--watch")
    assert result.code == 0, result.err
    assert "deleted so far: 0 products, 0 items, 0 syncs, 0 issues" in result.out.splitlines()[0]
    assert result.out.splitlines()[1].startswith("Shop")
    assert "Deleted items     1" in result.out


async def test_a_shop_that_is_being_deleted_is_a_conflict_with_the_command_that_waits(
    catalog: FakeCatalog, run: CommandLine
) -> None:
    catalog.errors["RegisterShop"] = [FailureWithReason("SHOP_BEING_DELETED", metadata={"shop_id": "abc"})]
    result = await run("shops", "register", NAME)
    assert result.code == 5
    assert "shops delete abc --yes --wait" in result.err
