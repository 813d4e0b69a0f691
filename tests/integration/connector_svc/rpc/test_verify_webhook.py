"""VerifyWebhook of the connector as it is wired, with a credentials file, over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync_common.channel import open_channel
from catalogsync_common.settings import ListenAddress
from catalogsync_common.status import ReceivedFailure, read_failure

from connector_svc.bootstrap import running
from connector_svc.settings import ConnectorSettings
from tests.fakes.webhook_deliveries import (
    SHOPIFY,
    WOOCOMMERCE,
    Headers,
    bigcommerce_headers,
    shopify_headers,
    woocommerce_headers,
)

CREDENTIALS = """
[shopify."demo.myshopify.com"]
client_id = "an app whose access token would have to be requested"
client_secret = "shopify-app-secret"

[woocommerce."store.example"]
consumer_key = "ck_1"
consumer_secret = "cs_1"
webhook_secrets = ["old-woo-secret", "new-woo-secret"]

[bigcommerce."store-abc123.mybigcommerce.com"]
access_token = "1"
webhook_secrets = ["bigcommerce-secret"]
"""
PRODUCT = b'{"id":5,"type":"variation","parent_id":4}'
HOOK = (
    b'{"scope":"store/product/deleted","producer":"stores/abc123","data":{"type":"product","id":205},"hash":"h"}'
)
Kind = pb.VerifyWebhookResponse.Kind


@dataclass(frozen=True, slots=True)
class Connector:
    """A running connector."""

    stub: ConnectorServiceStub

    async def verify(
        self, platform: str, headers: Headers, body: bytes, domain: str = ""
    ) -> pb.VerifyWebhookResponse:
        """Verify a delivery."""
        request = pb.VerifyWebhookRequest(platform=platform, body=body, domain=domain)
        for name, value in headers:
            request.headers.add(name=name, value=value)
        return await self.stub.VerifyWebhook(request)


async def failure_of(call: Awaitable[object]) -> ReceivedFailure:
    """Return the failure of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return await read_failure(caught.value)


@pytest.fixture
async def connector(tmp_path: Path) -> AsyncIterator[Connector]:
    file = tmp_path / "credentials.toml"
    file.write_text(CREDENTIALS)
    file.chmod(0o600)
    settings = ConnectorSettings(
        listen_address=ListenAddress("127.0.0.1:0"),
        credentials_file=file,
        settle_delay=timedelta(0),
        stop_grace=timedelta(0),
    )
    async with running(settings) as port, open_channel(f"127.0.0.1:{port}") as channel:
        yield Connector(ConnectorServiceStub(channel))


async def test_deliveries_of_all_platforms_are_verified_with_the_secrets_of_the_credentials_file(
    connector: Connector,
) -> None:
    shopify = await connector.verify("shopify", shopify_headers(PRODUCT, "shopify-app-secret"), PRODUCT)
    assert (shopify.shop.domain, shopify.kind, list(shopify.product_ids)) == (
        SHOPIFY.domain,
        Kind.KIND_PRODUCTS,
        ["5"],
    )
    assert shopify.topic == "products/update"
    assert shopify.delivery_id == "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043"
    assert shopify.trigger_time.ToDatetime(UTC) == datetime(2026, 11, 30, 10, 0, 0, 877041, UTC)
    for secret in ("old-woo-secret", "new-woo-secret"):
        woo = await connector.verify("woocommerce", woocommerce_headers(PRODUCT, secret), PRODUCT)
        assert (woo.shop.platform, woo.shop.domain, list(woo.product_ids)) == (
            "woocommerce",
            WOOCOMMERCE.domain,
            ["4"],
        )
        assert not woo.HasField("trigger_time")
    hook = await connector.verify("bigcommerce", bigcommerce_headers("bigcommerce-secret"), HOOK)
    assert (hook.kind, list(hook.product_ids), hook.delivery_id) == (Kind.KIND_PRODUCTS, ["205"], "h")


async def test_a_ping_needs_no_shop(connector: Connector) -> None:
    form = (("Content-Type", "application/x-www-form-urlencoded"),)
    ping = await connector.verify("woocommerce", form, b"webhook_id=4")
    assert (ping.kind, ping.HasField("shop")) == (Kind.KIND_PING, False)


async def test_the_reasons_tell_a_forgery_from_a_signed_body_that_cannot_be_used(connector: Connector) -> None:
    forged = await failure_of(connector.verify("shopify", shopify_headers(b"{", "wrong"), b"{"))
    broken = await failure_of(connector.verify("shopify", shopify_headers(b"{", "shopify-app-secret"), b"{"))
    assert (forged.code, forged.reason) == (grpc.StatusCode.PERMISSION_DENIED, "WEBHOOK_SIGNATURE_INVALID")
    assert (broken.code, broken.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "WEBHOOK_BODY_INVALID")
    assert forged.retry_after is None
    assert broken.retry_after is None


async def test_the_largest_body_is_verified(connector: Connector) -> None:
    body = b'{"id":5,"description":"' + b"x" * (2**20 - 25) + b'"}'
    assert len(body) == 2**20
    found = await connector.verify("shopify", shopify_headers(body, "shopify-app-secret"), body)
    assert list(found.product_ids) == ["5"]
