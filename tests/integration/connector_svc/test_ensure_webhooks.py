"""EnsureWebhooks and CheckShop: the connector creates, repairs and reports webhooks by the platforms' own APIs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import grpc
import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync_common.channel import open_channel
from catalogsync_common.settings import ListenAddress
from catalogsync_common.status import ReceivedFailure, read_failure_now

from connector_svc.bootstrap import running
from connector_svc.settings import ConnectorSettings
from devstore.faults import FaultKind, RequestMatcher, ScriptedFault
from devstore.spec import ShopSpec
from tests.unit.devstore.webhook_shop import BIGCOMMERCE, SECRET, SHOPIFY, WOO, WebhookShop, is_ping, webhook_shop

State = pb.WebhookSubscription.State
SECRETS: Final = {
    "shopify": "shpss_devstore_demo.myshopify.com",
    "woocommerce": "letters0digits",
    "bigcommerce": SECRET,
}
SPECS: Final = {"shopify": SHOPIFY, "woocommerce": WOO, "bigcommerce": BIGCOMMERCE}
TOPICS: Final = {
    "shopify": ["PRODUCTS_CREATE", "PRODUCTS_UPDATE", "PRODUCTS_DELETE"],
    "woocommerce": [
        "product.created",
        "product.updated",
        "product.deleted",
        "product.restored",
        "action.woocommerce_delete_product",
        "action.woocommerce_delete_product_variation",
    ],
    "bigcommerce": ["store/product/*", "store/sku/*"],
}
each_platform = pytest.mark.parametrize("platform", list(SPECS))


@dataclass(slots=True)
class Connected:
    """A shop, and a connector that knows it."""

    shop: WebhookShop
    stub: ConnectorServiceStub
    file: Path

    @property
    def ref(self) -> pb.ShopRef:
        return pb.ShopRef(platform=self.shop.spec.platform.value, domain=self.shop.spec.domain)

    def write_credentials(self, *webhook_secrets: str) -> None:
        """Write the credentials file; the connector reads it again."""
        lines = [f'{name} = "{value}"' for name, value in self.shop.spec.credentials.items()]
        if webhook_secrets:
            lines.append(f"webhook_secrets = [{', '.join(map(repr, webhook_secrets))}]")
        text = "\n".join(lines).replace("'", '"')
        self.file.write_text(f'[{self.ref.platform}."{self.ref.domain}"]\n{text}\n')
        self.file.chmod(0o600)

    async def ensure(self, path: str = "/hook") -> list[pb.WebhookSubscription]:
        """Ensure the webhooks at an address of the listener."""
        request = pb.EnsureWebhooksRequest(shop=self.ref, address=self.shop.listener.url + path)
        return list((await self.stub.EnsureWebhooks(request)).webhooks)

    async def failing(self, **request: object) -> ReceivedFailure:
        """Return the failure of EnsureWebhooks."""
        message = pb.EnsureWebhooksRequest(shop=self.ref, address="https://bff.example/hook")
        message.MergeFrom(pb.EnsureWebhooksRequest(**request))  # type: ignore[arg-type]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.stub.EnsureWebhooks(message)
        return read_failure_now(caught.value)

    async def webhook_platforms(self) -> set[str]:
        """Return the platforms on which webhooks can be created, as they are listed."""
        listed = (await self.stub.ListPlatforms(pb.ListPlatformsRequest())).platforms
        return {one.name for one in listed if one.capabilities.webhooks}

    async def check(self) -> pb.CheckShopResponse:
        return await self.stub.CheckShop(pb.CheckShopRequest(shop=self.ref))


@asynccontextmanager
async def connected(spec: ShopSpec, directory: Path) -> AsyncIterator[Connected]:
    file = directory / "credentials.toml"
    async with webhook_shop(spec, directory / "tls") as shop:
        found = Connected(shop, None, file)  # type: ignore[arg-type]
        found.write_credentials(SECRETS[spec.platform.value])
        settings = ConnectorSettings(
            listen_address=ListenAddress("127.0.0.1:0"),
            credentials_file=file,
            ca_file=shop.store.ca_file,
            endpoint_overrides={spec.domain: shop.store.base_url(spec.domain)},
            settle_delay=timedelta(0),
            stop_grace=timedelta(0),
        )
        async with running(settings) as port, open_channel(f"127.0.0.1:{port}") as channel:
            found.stub = ConnectorServiceStub(channel)
            yield found


async def verified(connection: Connected) -> list[pb.VerifyWebhookResponse]:
    """Verify what the shop has delivered."""
    found = []
    for delivery in await connection.shop.deliveries():
        request = pb.VerifyWebhookRequest(platform=connection.ref.platform, body=delivery.body)
        for name, value in delivery.headers:
            request.headers.add(name=name, value=value)
        found.append(await connection.stub.VerifyWebhook(request))
    return found


@each_platform
async def test_missing_webhooks_are_created_once_and_their_deliveries_are_verified(
    platform: str, tmp_path: Path
) -> None:
    async with connected(SPECS[platform], tmp_path) as connection:
        created = await connection.ensure()
        assert [one.topic for one in created] == TOPICS[platform]
        assert {(one.state, one.changed) for one in created} == {(State.STATE_ACTIVE, True)}
        again = await connection.ensure()
        assert [(one.id, one.changed) for one in again] == [(one.id, False) for one in created]
        product = next(iter(connection.shop.catalog.products()))
        connection.shop.catalog.update_product(product.id, title="changed")
        (found,) = await verified(connection)
        assert list(found.product_ids) == [str(product.id)]


@each_platform
async def test_webhooks_at_another_address_are_left_as_they_are(platform: str, tmp_path: Path) -> None:
    async with connected(SPECS[platform], tmp_path) as connection:
        first = await connection.ensure("/one")
        second = await connection.ensure("/two")
        assert {one.id for one in first}.isdisjoint(one.id for one in second)
        listed = (await connection.check()).webhooks
        assert len(listed) == 2 * len(TOPICS[platform])
        assert {one.state for one in listed} == {State.STATE_ACTIVE}


@each_platform
async def test_check_shop_reports_missing_webhooks_if_the_shop_has_a_webhook_secret(
    platform: str, tmp_path: Path
) -> None:
    async with connected(SPECS[platform], tmp_path) as connection:
        found = await connection.check()
        assert [(one.topic, one.state) for one in found.webhooks] == [
            (topic, State.STATE_MISSING) for topic in TOPICS[platform]
        ]
        notes = [note for note in found.notes if "EnsureWebhooks" in note]
        assert [topic in note for topic, note in zip(TOPICS[platform], notes, strict=True)] == [True] * len(notes)
        await connection.ensure()
        assert not [note for note in (await connection.check()).notes if "EnsureWebhooks" in note]
        connection.write_credentials()
        assert not (await connection.check()).webhooks


async def test_a_disabled_woocommerce_webhook_is_reported_and_enabled(tmp_path: Path) -> None:
    async with connected(WOO, tmp_path) as connection:
        created = {one.topic: one for one in await connection.ensure()}
        number = created["product.updated"].id
        await connection.shop.woo("PUT", f"/{number}", status="disabled")
        found = await connection.check()
        states = {one.topic: one.state for one in found.webhooks}
        assert states["product.updated"] == State.STATE_DISABLED
        assert any(f"The webhook {number} for product.updated is disabled" in note for note in found.notes)
        repaired = {one.topic: one for one in await connection.ensure()}
        assert [topic for topic, one in repaired.items() if one.changed] == ["product.updated"]
        assert repaired["product.updated"].id == number
        assert (await connection.shop.woo("GET", f"/{number}")).body["status"] == "active"


async def test_a_deactivated_bigcommerce_webhook_is_reported_and_enabled(tmp_path: Path) -> None:
    async with connected(BIGCOMMERCE, tmp_path) as connection:
        created = await connection.ensure()
        await connection.shop.bigcommerce("PUT", f"/{created[0].id}", is_active=False)
        assert [one.state for one in (await connection.check()).webhooks] == [
            State.STATE_DISABLED,
            State.STATE_ACTIVE,
        ]
        repaired = await connection.ensure()
        assert [(one.id, one.changed) for one in repaired] == [(created[0].id, True), (created[1].id, False)]


@pytest.mark.parametrize("platform", ["woocommerce", "bigcommerce"])
async def test_ensuring_after_a_rotation_signs_with_the_first_secret(platform: str, tmp_path: Path) -> None:
    async with connected(SPECS[platform], tmp_path) as connection:
        await connection.ensure()
        connection.write_credentials("new0secret", SECRETS[platform])
        catalog, product = connection.shop.catalog, next(iter(connection.shop.catalog.products()))
        catalog.update_product(product.id, title="signed with the old secret")
        assert len(await verified(connection)) == 1
        await connection.ensure()
        connection.shop.listener.received.clear()
        connection.write_credentials("new0secret")
        catalog.update_product(product.id, title="signed with the new secret")
        assert len(await verified(connection)) == 1


@pytest.mark.parametrize("secret", ["", "p&q<r>s-punctuation", "lab-secret"])
async def test_without_a_secret_of_letters_and_digits_no_woocommerce_webhook_is_created(
    secret: str, tmp_path: Path
) -> None:
    async with connected(WOO, tmp_path) as connection:
        connection.write_credentials(*([secret] if secret else []))
        failure = await connection.failing()
        assert failure.reason == "CREDENTIALS_NOT_FOUND"
        assert "webhook" in failure.message
        assert (await connection.shop.woo("GET")).body == []


async def test_a_key_without_write_permission_is_named(tmp_path: Path) -> None:
    async with connected(WOO, tmp_path) as connection:
        object.__setattr__(connection.shop.catalog.spec, "key_writes", False)
        failure = await connection.failing()
        assert (failure.reason, failure.metadata["missing"]) == ("SOURCE_FORBIDDEN", "write")


async def test_a_missing_scope_and_a_refused_address_of_shopify_are_named_and_no_message_is_quoted(
    tmp_path: Path,
) -> None:
    async with connected(SHOPIFY, tmp_path) as connection:
        quirks = connection.shop.store.shopify(SHOPIFY.domain).quirks
        quirks.refuses_webhooks = "Address hunter2 is not allowed"
        refused = await connection.failing()
        assert refused.reason == "SOURCE_QUERY_REFUSED"
        assert "PRODUCTS_CREATE" in refused.message
        assert "webhookSubscription.callbackUrl" in refused.message
        assert "hunter2" not in refused.message
        quirks.scopes = ("read_inventory",)
        forbidden = await connection.failing()
        assert (forbidden.reason, forbidden.metadata["missing"]) == ("SOURCE_FORBIDDEN", "read_products")


@pytest.mark.parametrize(
    "address",
    [
        "http://bff.example/hook",
        "ftp://bff.example/hook",
        "https://user:hunter2@bff.example/hook",
        "https:///hook",
        "https://bff.example/hook#1",
        "https://bff.example/a b",
        "https://[bff.example/hook",
        "https://bff.example/" + "x" * 2_000,
        "bff.example",
    ],
)
async def test_an_address_must_be_an_https_url(address: str, tmp_path: Path) -> None:
    async with connected(SHOPIFY, tmp_path) as connection:
        failure = await connection.failing(address=address)
        assert failure.reason == "INVALID_REQUEST"
        assert failure.message.startswith("address:")
        assert "hunter2" not in failure.message


async def test_webhooks_that_cannot_be_listed_do_not_fail_the_check(tmp_path: Path) -> None:
    async with connected(WOO, tmp_path) as connection:
        matcher = RequestMatcher(where="wc/v3/webhooks")
        fault = ScriptedFault(kind=FaultKind.STATUS, matcher=matcher, status=403)
        connection.shop.store.add_fault(WOO.domain, fault)
        found = await connection.check()
        assert found.currency_code == "EUR"
        assert any(note.startswith("The webhooks cannot be listed") for note in found.notes)
        assert matcher.matched


async def test_the_ping_of_a_created_webhook_is_recognised(tmp_path: Path) -> None:
    async with connected(WOO, tmp_path) as connection:
        await connection.ensure()
        pings = [one for one in await connection.shop.deliveries(pings=True) if is_ping(one)]
        assert len(pings) == len(TOPICS["woocommerce"])
        request = pb.VerifyWebhookRequest(platform="woocommerce", body=pings[0].body)
        for name, value in pings[0].headers:
            request.headers.add(name=name, value=value)
        assert (await connection.stub.VerifyWebhook(request)).kind == pb.VerifyWebhookResponse.KIND_PING


async def test_the_platforms_on_which_webhooks_can_be_created_are_listed(tmp_path: Path) -> None:
    async with connected(SHOPIFY, tmp_path) as shop:
        assert await shop.webhook_platforms() == set(SPECS)
