"""Credentials of the Python client: tokens are renewed in time, once, and are never shown."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Shop, Sync
from catalogsync_client import (
    BearerToken,
    CatalogClient,
    CredentialsInvalid,
    RetryPolicy,
    ServiceSecret,
    TokenProvider,
    TokenUnavailable,
    reasons,
)
from catalogsync_common.token_minting import SigningKey, mint_operator_token

from tests.fakes.catalog_service import CatalogServer, FailureWithReason, FakeCatalog
from tests.waiting import until, within_timeout

KEY = SigningKey(kid="o1", key="k" * 40)
QUICK = RetryPolicy(give_up_seconds=30, initial_backoff_seconds=0.05, max_backoff_seconds=0.1)
NAME = "shopify:demo.myshopify.com"


class Issuer:
    """Issues tokens, as an identity provider does, and counts them."""

    def __init__(self, lifetime: timedelta = timedelta(minutes=15)) -> None:
        self.lifetime = lifetime
        self.tokens: list[str] = []
        self.failures = 0
        """How many of the next calls fail."""

    async def issue(self) -> str:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise OSError("the identity provider said: secret-of-the-caller")
        number = len(self.tokens)
        self.tokens.append(
            mint_operator_token(KEY, f"alice-{number}", scopes=["catalog:read"], lifetime=self.lifetime)
        )
        return self.tokens[-1]


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def sent(catalog: FakeCatalog) -> list[str | None]:
    return [metadata.get("authorization") for _, _, metadata in catalog.requests]


async def test_concurrent_first_calls_share_one_token(
    catalog: FakeCatalog, server: CatalogServer, shop: Shop, issuer: Issuer
) -> None:
    catalog.register(shop)
    async with CatalogClient(server.address, credentials=TokenProvider(issuer.issue)) as client:
        await within_timeout(asyncio.gather(*(client.get_status(NAME) for _ in range(5))))
    assert sent(catalog) == [f"Bearer {issuer.tokens[0]}"] * 5


async def test_a_token_is_replaced_before_it_expires(
    catalog: FakeCatalog, server: CatalogServer, shop: Shop
) -> None:
    catalog.register(shop)
    short = Issuer(lifetime=timedelta(seconds=20))
    async with CatalogClient(server.address, credentials=TokenProvider(short.issue)) as client:
        await client.get_status(NAME)
        await client.get_status(NAME)
    assert sent(catalog) == [f"Bearer {token}" for token in short.tokens]
    assert len(short.tokens) == 2


async def test_a_call_is_made_again_with_a_new_token_when_the_service_calls_it_expired(
    catalog: FakeCatalog, server: CatalogServer, shop: Shop, issuer: Issuer
) -> None:
    catalog.register(shop)
    catalog.errors["GetStatus"] = [FailureWithReason("TOKEN_EXPIRED")]
    async with CatalogClient(server.address, credentials=TokenProvider(issuer.issue)) as client:
        await client.get_status(NAME)
    assert sent(catalog) == [f"Bearer {token}" for token in issuer.tokens]
    assert len(issuer.tokens) == 2


async def test_a_call_fails_when_the_new_token_is_called_expired_too(
    catalog: FakeCatalog, server: CatalogServer, shop: Shop, issuer: Issuer
) -> None:
    catalog.register(shop)
    catalog.errors["GetStatus"] = [FailureWithReason("TOKEN_EXPIRED")] * 2
    async with CatalogClient(server.address, credentials=TokenProvider(issuer.issue)) as client:
        with pytest.raises(reasons.TokenExpired):
            await client.get_status(NAME)
    assert len(issuer.tokens) == 2


async def test_a_watch_survives_an_expired_token_while_the_provider_is_down(
    catalog: FakeCatalog, server: CatalogServer, shop: Shop, issuer: Issuer
) -> None:
    sync = catalog.add_sync(shop)
    catalog.errors["WatchSync"] = [FailureWithReason("TOKEN_EXPIRED")] * 4
    seen: list[int] = []

    async def watch(client: CatalogClient) -> None:
        async with aclosing(client.watch(sync.sync_id, retry_policy=QUICK)) as snapshots:
            async for snapshot in snapshots:
                seen.append(snapshot.revision)

    async with CatalogClient(server.address, credentials=TokenProvider(issuer.issue)) as client:
        await client.get_sync(sync.sync_id)
        issuer.failures = 3
        watching = asyncio.ensure_future(watch(client))
        await until(lambda: seen == [1])
        await catalog.change(sync.sync_id, state=Sync.STATE_SUCCEEDED)
        await within_timeout(watching)
    assert seen == [1, 2]
    assert issuer.failures == 0


async def test_the_error_of_a_provider_is_the_cause_and_its_text_is_not_repeated(
    server: CatalogServer, issuer: Issuer
) -> None:
    issuer.failures = 1
    async with CatalogClient(server.address, credentials=TokenProvider(issuer.issue)) as client:
        with pytest.raises(TokenUnavailable) as caught:
            await client.get_status(NAME)
    assert caught.value.message == "the token provider failed: OSError"
    assert isinstance(caught.value.__cause__, OSError)


async def test_two_clients_on_one_channel_send_their_own_credentials(
    catalog: FakeCatalog, server: CatalogServer, shop: Shop
) -> None:
    catalog.register(shop)
    async with CatalogClient(server.address, credentials=ServiceSecret("bff:secret")) as client:
        await client.authenticated_by(BearerToken("of-the-merchant")).get_status(NAME)
        await client.get_status(NAME)
    (_, _, first), (_, _, second) = catalog.requests
    assert (first["authorization"], first.get("x-service-secret")) == ("Bearer of-the-merchant", None)
    assert (second.get("authorization"), second["x-service-secret"]) == (None, "bff:secret")


@pytest.mark.parametrize("credential", ["two words", "line\nbreak", "café", ""])
def test_a_credential_that_cannot_be_sent_is_refused_and_not_shown(credential: str) -> None:
    for kind in (BearerToken, ServiceSecret):
        with pytest.raises(CredentialsInvalid) as caught:
            kind(credential)
        assert not credential or credential not in str(caught.value)


def test_credentials_are_not_shown_in_a_repr() -> None:
    assert "hidden" not in f"{BearerToken('hidden')!r} {ServiceSecret('bff:hidden')!r}"
