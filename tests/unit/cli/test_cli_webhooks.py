"""`catalogsync webhooks` against a fake connector."""

from __future__ import annotations

from catalogsync.connector.v1.connector_service_pb2 import CheckShopResponse, WebhookSubscription

from tests.fakes.checking_connector import CheckingConnector
from tests.unit.cli.conftest import CommandLine

NAME = "shopify:demo.myshopify.com"
ADDRESS = "https://bff.example/webhooks/shopify"


def with_webhooks(connector: CheckingConnector) -> None:
    webhooks = [
        WebhookSubscription(topic="PRODUCTS_CREATE", state=WebhookSubscription.STATE_MISSING),
        WebhookSubscription(
            topic="PRODUCTS_UPDATE", state=WebhookSubscription.STATE_DISABLED, id="7", address=ADDRESS
        ),
    ]
    connector.shops[NAME] = CheckShopResponse(currency_code="EUR", webhooks=webhooks)


async def test_missing_and_disabled_webhooks_are_listed_and_repaired(
    connector: CheckingConnector, run: CommandLine
) -> None:
    with_webhooks(connector)
    listed = await run("webhooks", "list", NAME)
    assert listed.code == 0
    for text in ("PRODUCTS_CREATE", "MISSING", "PRODUCTS_UPDATE", "DISABLED", ADDRESS):
        assert text in listed.out
    ensured = await run("webhooks", "ensure", NAME, ADDRESS, "--json")
    assert ensured.code == 0
    states = [(document["state"], document["changed"]) for document in ensured.documents]
    assert states == [("STATE_ACTIVE", True)] * 2


async def test_a_platform_without_webhooks_says_so(connector: CheckingConnector, run: CommandLine) -> None:
    connector.shops["feed:shop.example"] = CheckShopResponse(currency_code="EUR")
    result = await run("webhooks", "list", "feed:shop.example")
    assert (result.code, result.out) == (0, "")
    assert "no webhooks" in result.err


async def test_a_shop_without_credentials_is_an_error(run: CommandLine) -> None:
    result = await run("webhooks", "ensure", NAME, ADDRESS, "--json")
    assert result.error["reason"] == "CREDENTIALS_NOT_FOUND"
