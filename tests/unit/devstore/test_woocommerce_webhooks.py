"""The devstore sends WooCommerce's webhooks as the recorded stores did."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from devstore.catalog.model import Kind, Product
from devstore.woocommerce.webhooks import sign
from tests.contract.woocommerce.recorded_webhooks import recorded_deliveries, recorded_delivery
from tests.fakes.webhook_listener import ReceivedDelivery
from tests.unit.devstore.webhook_shop import SECRET, WOO, WebhookShop, is_ping, webhook_shop

TOPICS = ("product.created", "product.updated", "product.deleted", "product.restored")
ACTIONS = (
    "action.woocommerce_delete_product",
    "action.woocommerce_delete_product_variation",
    "action.woocommerce_updated_product_stock",
    "action.woocommerce_variation_set_stock",
)
Headers = tuple[tuple[str, str], ...]


@pytest.fixture
async def shop(tls_dir: Path) -> AsyncIterator[WebhookShop]:
    async with webhook_shop(WOO, tls_dir) as running:
        yield running


def product_of(shop: WebhookShop, kind: Kind) -> Product:
    """Return a published product of this kind."""
    return next(one for one in shop.catalog.products() if one.kind is kind and one.status == "publish")


def named(deliveries: list[ReceivedDelivery]) -> list[tuple[str, object]]:
    """Return topic and id of each delivery."""
    found: list[tuple[str, object]] = []
    for one in deliveries:
        body = one.json()
        found.append((one.header("X-WC-Webhook-Topic"), body.get("id", body.get("arg"))))
    return found


async def test_a_delivery_has_the_headers_and_the_fields_of_the_recorded_ones(shop: WebhookShop) -> None:
    """8.2.2 is the version whose products the devstore copies."""
    for topic in ("product.updated", "product.deleted", "action.woocommerce_delete_product"):
        await shop.create_woo(topic)
    product, variable = product_of(shop, Kind.SIMPLE), product_of(shop, Kind.VARIABLE)
    shop.catalog.update_product(product.id, price="9.99")
    shop.catalog.update_variant(variable.variants[0].id, price="8.88")
    added = shop.catalog.add_product()
    shop.catalog.trash_product(added.id)
    shop.catalog.delete_product(added.id)
    for sent, name in zip(
        await shop.deliveries(),
        ("05-update-price-01", "06-update-variation-01", "09-trash-01", "30-action-topics-force-02"),
        strict=True,
    ):
        genuine = recorded_delivery(f"8_2_2-{name}")
        assert sent.method == "POST"
        assert {one for one, _ in sent.headers} == {one for one, _ in genuine.headers}
        assert own_headers(sent.headers) == own_headers(genuine.headers)
        assert shape(sent.body) == shape(genuine.body), name
        assert sent.header("Connection") == "close"
        assert b"/" not in sent.body.replace(b"\\/", b""), "PHP escapes slashes"
        assert sent.body.isascii()


async def test_a_ping_has_the_headers_and_the_body_of_the_recorded_ones(shop: WebhookShop) -> None:
    number = await shop.create_woo("product.updated")
    (ping,) = await shop.deliveries(pings=True)
    genuine = recorded_delivery("8_2_2-01-ping-01")
    assert {one for one, _ in ping.headers} == {one for one, _ in genuine.headers}
    assert ping.header("Content-Type") == dict(genuine.headers)["Content-Type"]
    assert ping.body == f"webhook_id={number}".encode()


def test_the_devstore_makes_every_recorded_signature() -> None:
    for recorded in recorded_deliveries():
        if recorded.secret_stored is not None:
            headers = dict(recorded.headers)
            assert sign(recorded.body, recorded.secret_stored) == headers["X-WC-Webhook-Signature"], recorded.name


async def test_what_fires_is_what_the_recorded_stores_fired(shop: WebhookShop) -> None:
    for topic in (*TOPICS, *ACTIONS):
        await shop.create_woo(topic)
    catalog, product, variable = shop.catalog, product_of(shop, Kind.SIMPLE), product_of(shop, Kind.VARIABLE)
    variation = variable.variants[0].id
    # Each action, and what the recorded stores sent for it.
    steps: list[tuple[Callable[[], object], list[tuple[str, object]]]] = [
        (lambda: catalog.update_product(product.id, price="1.00"), [("product.updated", product.id)]),
        (lambda: catalog.update_product(product.id, touch=False, price="2.00"), []),
        (lambda: catalog.update_variant(variation, price="1.00"), [("product.updated", variation)]),
        (
            lambda: catalog.update_variant(variation, stock=77),
            [
                ("action.woocommerce_updated_product_stock", variation),
                ("action.woocommerce_variation_set_stock", []),
                ("product.updated", variation),
            ],
        ),
        (
            lambda: catalog.delete_variant(variation),
            [("action.woocommerce_delete_product_variation", variation)],
        ),
        (
            lambda: catalog.trash_product(variable.id),
            [*(("product.deleted", one.id) for one in variable.variants[1:]), ("product.deleted", variable.id)],
        ),
        (
            lambda: catalog.delete_product(product.id),
            [("action.woocommerce_delete_product", product.id)],
        ),
    ]
    for act, expected in steps:
        shop.listener.received.clear()
        act()
        assert sorted(named(await shop.deliveries()), key=str) == sorted(expected, key=str)
    shop.listener.received.clear()
    created = catalog.add_product(stock=None)
    assert named(await shop.deliveries()) == [("product.created", created.id)]


async def test_changes_before_the_queue_runs_are_one_delivery_of_the_last_state(shop: WebhookShop) -> None:
    await shop.create_woo("product.updated")
    product = product_of(shop, Kind.SIMPLE)
    shop.sender.change_switches(held=True)
    for price in ("1.00", "2.00", "3.00"):
        shop.catalog.update_product(product.id, price=price, compare_at="")
    shop.sender.change_switches(held=False)
    (sent,) = await shop.deliveries()
    assert sent.json()["price"] == "3.00"


async def test_a_product_that_was_deleted_meanwhile_is_a_signed_error(shop: WebhookShop) -> None:
    await shop.create_woo("product.updated")
    product = product_of(shop, Kind.SIMPLE)
    shop.sender.change_switches(held=True)
    shop.catalog.update_product(product.id, price="1.00")
    shop.catalog.delete_product(product.id)
    shop.sender.change_switches(held=False)
    (sent,) = await shop.deliveries()
    genuine = recorded_delivery("8_2_2-13-updated-then-deleted-01")
    assert sent.json() == json.loads(genuine.body)
    assert sent.header("X-WC-Webhook-Signature") == sign(sent.body, SECRET)


async def test_deliveries_of_one_second_have_one_id(tls_dir: Path) -> None:
    at = datetime(2026, 11, 30, 12, tzinfo=UTC)
    async with webhook_shop(WOO, tls_dir, clock=lambda: at) as shop:
        await shop.create_woo("product.updated")
        await shop.create_woo("product.updated", "/other")
        products = [one for one in shop.catalog.products() if one.kind is Kind.SIMPLE][:3]
        for product in products:
            shop.catalog.update_product(product.id, price="1.00")
        by_hook: dict[str, set[str]] = defaultdict(set)
        for sent in await shop.deliveries():
            by_hook[sent.target].add(sent.header("X-WC-Webhook-Delivery-ID"))
        assert {target: len(ids) for target, ids in by_hook.items()} == {"/hook": 1, "/other": 1}
        assert by_hook["/hook"] != by_hook["/other"]


async def test_a_ping_is_repeated_after_each_delivery_until_it_is_answered_with_200(shop: WebhookShop) -> None:
    shop.listener.status_of = lambda one: 204 if is_ping(one) else 200
    await shop.create_woo("product.updated")
    product = product_of(shop, Kind.SIMPLE)

    async def pings_after_a_change(price: str) -> int:
        shop.listener.received.clear()
        shop.catalog.update_product(product.id, price=price)
        return sum(map(is_ping, await shop.deliveries(pings=True)))

    assert await pings_after_a_change("1.00") == 1
    assert await pings_after_a_change("2.00") == 1
    shop.listener.status_of = lambda one: 200
    assert await pings_after_a_change("3.00") == 1
    assert await pings_after_a_change("4.00") == 0


@pytest.mark.parametrize(
    ("status", "is_success"),
    [(200, True), (204, True), (302, True), (303, False), (410, False), (500, False), (0, False)],
)
async def test_the_seventh_failure_in_a_row_disables_a_webhook(
    shop: WebhookShop, status: int, is_success: bool
) -> None:
    number = await shop.create_woo("product.updated")
    product = product_of(shop, Kind.SIMPLE)
    shop.listener.status_of = lambda one: 200 if is_ping(one) else status

    async def status_after_a_change(price: int) -> str:
        shop.catalog.update_product(product.id, price=f"{price}.00")
        await shop.idle()
        return str((await shop.woo("GET", f"/{number}")).body["status"])

    found = [await status_after_a_change(price) for price in range(1, 8)]
    assert found == ["active"] * 7 if is_success else ["active"] * 6 + ["disabled"]
    received = len(await shop.deliveries())
    assert received == 7, "no delivery is repeated"
    if not is_success:
        await status_after_a_change(8)
        assert len(await shop.deliveries()) == received, "a disabled webhook is silent"
        await shop.woo("PUT", f"/{number}", status="active")
        assert await status_after_a_change(9) == "disabled", "enabling does not reset the failure count"
        shop.listener.status_of = lambda one: 200
        await shop.woo("PUT", f"/{number}", status="active")
        await status_after_a_change(10)
        shop.listener.status_of = lambda one: 500
        assert await status_after_a_change(11) == "active"


async def test_an_empty_secret_becomes_one_that_no_reply_contains(shop: WebhookShop) -> None:
    number = await shop.create_woo("product.updated", secret="")
    shop.catalog.update_product(product_of(shop, Kind.SIMPLE).id, price="1.00")
    (sent,) = await shop.deliveries()
    assert sent.header("X-WC-Webhook-Signature") != sign(sent.body, "")
    for reply in (await shop.woo("GET"), await shop.woo("GET", f"/{number}")):
        assert b"secret" not in reply.raw


async def test_webhooks_are_listed_paused_and_deleted_over_rest(shop: WebhookShop) -> None:
    numbers = [await shop.create_woo(topic) for topic in TOPICS]
    paused = numbers[0]
    assert (await shop.woo("PUT", f"/{paused}", status="paused")).body["status"] == "paused"
    listed = await shop.woo("GET", "?per_page=3&page=1")
    assert ([one["id"] for one in listed.body], listed.headers["X-WP-Total"]) == (numbers[:0:-1], "4")
    assert [one["id"] for one in (await shop.woo("GET", "?status=paused")).body] == [paused]
    shop.catalog.add_product()
    assert await shop.deliveries() == []
    assert (await shop.woo("DELETE", f"/{paused}")).status == 501
    assert (await shop.woo("DELETE", f"/{paused}?force=true")).body["id"] == paused
    missing = await shop.woo("GET", f"/{paused}")
    assert (missing.status, missing.body["code"]) == (404, "woocommerce_rest_shop_webhook_invalid_id")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"topic": "product.sold", "delivery_url": "http://a.example"}, "invalid_topic"),
        ({"topic": "action.", "delivery_url": "http://a.example"}, "invalid_topic"),
        ({"topic": "product.updated", "delivery_url": "ftp://a.example"}, "invalid_delivery_url"),
        ({"topic": "product.updated"}, "invalid_delivery_url"),
    ],
)
async def test_invalid_webhooks_are_refused(shop: WebhookShop, fields: dict[str, str], code: str) -> None:
    reply = await shop.woo("POST", **fields)
    assert (reply.status, reply.body["code"]) == (400, f"woocommerce_rest_shop_webhook_{code}")


async def test_a_read_key_creates_no_webhook(tls_dir: Path) -> None:
    async with webhook_shop(WOO, tls_dir, key_writes=False) as shop:
        reply = await shop.woo("POST", topic="product.updated", delivery_url="http://a.example")
        assert (reply.status, (await shop.woo("GET")).body) == (401, [])


def own_headers(headers: Headers) -> list[str]:
    """Return the names of WooCommerce's own headers, in their order."""
    return [name for name, _ in headers if name.startswith("X-WC-Webhook-")]


def shape(body: bytes) -> object:
    """Return the fields of a body in their order, each with the type of its value."""
    return [(name, type(value).__name__) for name, value in json.loads(body).items()]
