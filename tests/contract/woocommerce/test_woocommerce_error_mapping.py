"""Each recorded refusal becomes a failure that a merchant can act on."""

from __future__ import annotations

import logging
import re

import pytest

from connector_svc.domain.errors import (
    SourceFailure,
    SourceForbidden,
    SourceNotFound,
    SourceQueryRefused,
    SourceRedirected,
    SourceResponseInvalid,
    SourceUnauthorized,
    SourceUnreachable,
)
from devstore.tls import TlsFiles
from tests.contract.woocommerce.reading import SHOP, KeyRing, keys, platform_at, read
from tests.contract.woocommerce.recorded import RecordedReply, recorded
from tests.contract.woocommerce.replay import KEY, SECRET, OneReply, ReplayStore, listening

BEGINNING = 5
"""What a pass asks for at once: products, a route for variations, currency, unit of weight, version."""

REFUSALS = {
    "auth-none": (SourceUnauthorized, "does not know the consumer key"),
    "auth-wrong-key": (SourceUnauthorized, "does not know the consumer key"),
    "auth-wrong-secret": (SourceUnauthorized, "consumer secret"),
    "auth-query-https-wrong-secret": (SourceUnauthorized, "consumer secret"),
    "auth-write-only-key": (SourceForbidden, '"Read" permission'),
    "auth-customer-key": (SourceForbidden, "shop manager"),
    "auth-rest-route-form": (SourceUnauthorized, "does not know the consumer key"),
    "auth-oauth-http-bad-key": (SourceUnauthorized, "wrong"),
    "auth-oauth-http-bad-signature": (SourceUnauthorized, "wrong"),
    "auth-oauth-http-nonce-reused": (SourceUnauthorized, "wrong"),
    "auth-oauth-http-old-timestamp": (SourceUnauthorized, "wrong"),
    "rest-no-route": (SourceNotFound, "is it active"),
    "not-wordpress-404": (SourceNotFound, "Permalinks"),
    "plain-permalinks-wp-json": (SourceRedirected, "wp-json"),
    "products-bad-orderby": (SourceQueryRefused, "rest_invalid_param"),
    "error-503-maintenance": (SourceUnreachable, "503"),
    "error-503-maintenance-accept-json": (SourceUnreachable, "503"),
    "error-500-fatal-html": (SourceUnreachable, "500"),
    "error-500-fatal-accept-json": (SourceUnreachable, "500"),
}


async def _failure(
    store: OneReply | ReplayStore, tls: TlsFiles | None, ring: KeyRing | None = None
) -> SourceFailure:
    ring = ring or KeyRing([keys(KEY, SECRET)])
    async with (
        listening(store, tls) as url,
        platform_at(url, ring, ca=tls.ca if tls else None) as platform,
    ):
        with pytest.raises(SourceFailure) as raised:
            await read(platform)
        with pytest.raises(type(raised.value)):
            await platform.check(SHOP)
    return raised.value


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_says_what_to_do(name: str, tls: TlsFiles) -> None:
    kind, words = REFUSALS[name]
    failure = await _failure(OneReply(reply=recorded(name)), tls)
    assert type(failure) is kind
    assert re.search(words, failure.message)
    assert KEY not in failure.message
    assert SECRET not in failure.message


async def test_a_store_in_maintenance_tells_when_to_come_back(tls: TlsFiles) -> None:
    failure = await _failure(OneReply(reply=recorded("error-503-maintenance")), tls)
    assert failure.retry_after is not None
    assert 600 <= failure.retry_after.total_seconds() < 610


@pytest.mark.parametrize("name", ["auth-basic-http", "auth-query-http", "auth-none-http"])
async def test_plain_http_is_named_as_the_reason(name: str) -> None:
    failure = await _failure(OneReply(reply=recorded(name)), None)
    assert type(failure) is SourceUnauthorized
    assert "https" in failure.message


async def test_plain_permalinks_are_named_as_the_reason(tls: TlsFiles) -> None:
    """There the index is the shop's home page, with status 200."""
    home = recorded("not-wordpress-404")
    page = RecordedReply(status=200, headers=home.headers, body=home.body)
    failure = await _failure(OneReply(reply=page, sound_index=False), tls)
    assert type(failure) is SourceResponseInvalid
    assert "Permalinks" in failure.message


async def test_a_web_page_with_status_200_in_place_of_products_is_no_empty_catalog(tls: TlsFiles) -> None:
    home = recorded("not-wordpress-404")
    failure = await _failure(OneReply(reply=RecordedReply(status=200, headers=home.headers, body=home.body)), tls)
    assert type(failure) is SourceResponseInvalid


async def test_a_firewalls_page_is_not_taken_for_a_missing_permission(tls: TlsFiles) -> None:
    home = recorded("not-wordpress-404")
    failure = await _failure(OneReply(reply=RecordedReply(status=403, headers=home.headers, body=home.body)), tls)
    assert type(failure) is SourceResponseInvalid
    assert "firewall" in failure.message


async def test_a_host_that_strips_the_header_gets_the_key_in_the_query_from_then_on(tls: TlsFiles) -> None:
    store = ReplayStore(strips_authorization=True)
    async with (
        listening(store, tls) as url,
        platform_at(url, KeyRing([keys(KEY, SECRET)]), ca=tls.ca) as platform,
    ):
        assert len((await read(platform)).products) == 60
        calls = len(store.asked)
        store.asked.clear()
        assert len((await read(platform)).products) == 60
    # The first pass learned it with those that it begins with in vain.
    assert 1 <= calls - len(store.asked) <= BEGINNING


async def test_no_log_holds_a_key_not_even_one_sent_in_the_query(
    tls: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with (
        listening(ReplayStore(strips_authorization=True), tls) as url,
        platform_at(url, KeyRing([keys(KEY, SECRET)]), ca=tls.ca) as platform,
    ):
        await read(platform)
    text = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "wc/v3/products" in text
    assert KEY not in text
    assert SECRET not in text


async def test_keys_that_were_replaced_are_fetched_again_once(tls: TlsFiles) -> None:
    old, new = keys("ck_old", "cs_old"), keys(f"{KEY} ", f" {SECRET}\n")
    ring = KeyRing([old, new])
    async with listening(ReplayStore(), tls) as url, platform_at(url, ring, ca=tls.ca) as platform:
        assert len((await read(platform)).products) == 60
    assert ring.refused == [old]


async def test_keys_that_stay_refused_are_not_tried_for_ever(tls: TlsFiles) -> None:
    store = OneReply(reply=recorded("auth-wrong-secret"))
    ring = KeyRing([keys(KEY, "cs_bad")])
    await _failure(store, tls, ring)
    # A fetch and a check: the index and what each begins with.
    assert store.asked <= 2 * (1 + BEGINNING)
