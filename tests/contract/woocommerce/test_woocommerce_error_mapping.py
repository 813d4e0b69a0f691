"""Each recorded error response is mapped to a failure that a merchant can act on."""

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
from tests.contract.woocommerce.read_pass import SHOP, FakeCredentials, credentials, platform_at, read_pass
from tests.contract.woocommerce.recorded import RecordedReply, recorded
from tests.contract.woocommerce.replay import KEY, SECRET, OneReply, ReplayStore, listening

START_REQUESTS = 5
"""Concurrent requests at the start of a pass: products, variation route, currency, weight unit, version."""

ERRORS = {
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
    "rest-no-route": (SourceNotFound, "is WooCommerce active"),
    "not-wordpress-404": (SourceNotFound, "Permalinks"),
    "plain-permalinks-wp-json": (SourceRedirected, "wp-json"),
    "products-bad-orderby": (SourceQueryRefused, "rest_invalid_param"),
    "error-503-maintenance": (SourceUnreachable, "503"),
    "error-503-maintenance-accept-json": (SourceUnreachable, "503"),
    "error-500-fatal-html": (SourceUnreachable, "500"),
    "error-500-fatal-accept-json": (SourceUnreachable, "500"),
}


async def _failure(
    store: OneReply | ReplayStore, tls: TlsFiles | None, provider: FakeCredentials | None = None
) -> SourceFailure:
    provider = provider or FakeCredentials([credentials(KEY, SECRET)])
    async with (
        listening(store, tls) as url,
        platform_at(url, provider, ca=tls.ca if tls else None) as platform,
    ):
        with pytest.raises(SourceFailure) as raised:
            await read_pass(platform)
        with pytest.raises(type(raised.value)):
            await platform.check(SHOP)
    return raised.value


@pytest.mark.parametrize("name", ERRORS)
async def test_the_failure_says_what_to_do(name: str, tls: TlsFiles) -> None:
    failure_type, text = ERRORS[name]
    failure = await _failure(OneReply(reply=recorded(name)), tls)
    assert type(failure) is failure_type
    assert re.search(text, failure.message)
    assert KEY not in failure.message
    assert SECRET not in failure.message


async def test_a_store_in_maintenance_has_a_retry_time(tls: TlsFiles) -> None:
    failure = await _failure(OneReply(reply=recorded("error-503-maintenance")), tls)
    assert failure.retry_after is not None
    assert 600 <= failure.retry_after.total_seconds() < 610


@pytest.mark.parametrize("name", ["auth-basic-http", "auth-query-http", "auth-none-http"])
async def test_plain_http_is_named_as_the_cause(name: str) -> None:
    failure = await _failure(OneReply(reply=recorded(name)), None)
    assert type(failure) is SourceUnauthorized
    assert "https" in failure.message


async def test_plain_permalinks_are_named_as_the_cause(tls: TlsFiles) -> None:
    """With plain permalinks the index is the shop's home page, with status 200."""
    home = recorded("not-wordpress-404")
    page = RecordedReply(status=200, headers=home.headers, body=home.body)
    failure = await _failure(OneReply(reply=page, valid_index=False), tls)
    assert type(failure) is SourceResponseInvalid
    assert "Permalinks" in failure.message


async def test_a_web_page_with_status_200_instead_of_products_is_not_an_empty_catalog(tls: TlsFiles) -> None:
    home = recorded("not-wordpress-404")
    failure = await _failure(OneReply(reply=RecordedReply(status=200, headers=home.headers, body=home.body)), tls)
    assert type(failure) is SourceResponseInvalid


async def test_a_page_of_a_firewall_is_not_a_missing_permission(tls: TlsFiles) -> None:
    home = recorded("not-wordpress-404")
    failure = await _failure(OneReply(reply=RecordedReply(status=403, headers=home.headers, body=home.body)), tls)
    assert type(failure) is SourceResponseInvalid
    assert "firewall" in failure.message


async def test_a_host_that_strips_the_header_receives_the_key_in_the_query_from_then_on(tls: TlsFiles) -> None:
    store = ReplayStore(strips_authorization=True)
    async with (
        listening(store, tls) as url,
        platform_at(url, FakeCredentials([credentials(KEY, SECRET)]), ca=tls.ca) as platform,
    ):
        assert len((await read_pass(platform)).products) == 60
        first_pass_requests = len(store.requests)
        store.requests.clear()
        assert len((await read_pass(platform)).products) == 60
    # In the first pass the requests of the start fail before the host is known.
    assert 1 <= first_pass_requests - len(store.requests) <= START_REQUESTS


async def test_no_log_contains_a_key_not_even_one_sent_in_the_query(
    tls: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with (
        listening(ReplayStore(strips_authorization=True), tls) as url,
        platform_at(url, FakeCredentials([credentials(KEY, SECRET)]), ca=tls.ca) as platform,
    ):
        await read_pass(platform)
    text = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "wc/v3/products" in text
    assert KEY not in text
    assert SECRET not in text


async def test_rejected_credentials_are_renewed_once(tls: TlsFiles) -> None:
    old, new = credentials("ck_old", "cs_old"), credentials(f"{KEY} ", f" {SECRET}\n")
    provider = FakeCredentials([old, new])
    async with listening(ReplayStore(), tls) as url, platform_at(url, provider, ca=tls.ca) as platform:
        assert len((await read_pass(platform)).products) == 60
    assert provider.refused == [old]


async def test_credentials_that_stay_rejected_are_not_tried_for_ever(tls: TlsFiles) -> None:
    store = OneReply(reply=recorded("auth-wrong-secret"))
    provider = FakeCredentials([credentials(KEY, "cs_bad")])
    await _failure(store, tls, provider)
    # One fetch and one check: the index and the requests of the start of each.
    assert store.request_count <= 2 * (1 + START_REQUESTS)
