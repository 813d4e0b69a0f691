"""API keys are sent the way that the host supports, and are renewed once for all concurrent requests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import parse_qsl

import pytest
from yarl import URL

from connector_svc.domain.errors import CredentialsNotFound
from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import Credentials, HttpReply, Secret
from connector_svc.platforms.woocommerce.auth import (
    Authenticator,
    QueryAuthShops,
    SignatureStamp,
    sign_request,
    signature_base_string,
)
from devstore.woocommerce.auth import OAuthSignatures
from devstore.woocommerce.errors import RestError

SHOP = Shop("woocommerce", "store.example")
OK = HttpReply(status=200, headers={}, body=b"[]")
UNKNOWN_KEY = HttpReply(status=401, headers={}, body=b'{"code": "woocommerce_rest_cannot_view", "message": ""}')
PASSWORD_PROMPT = HttpReply(status=401, headers={"WWW-Authenticate": "Basic"}, body=b"<html></html>")


def _credentials(name: str) -> Credentials:
    return {"consumer_key": Secret(f"ck_{name}"), "consumer_secret": Secret(f"cs_{name}")}


def _sign(key: str, secret: str, clock_ahead_seconds: int) -> Sequence[tuple[str, str]]:
    return (
        ("oauth_consumer_key", key),
        ("oauth_timestamp", str(clock_ahead_seconds)),
        ("oauth_signature", "made"),
    )


class _RenewingProvider:
    """Returns old credentials, and new ones once the old ones were rejected."""

    def __init__(self) -> None:
        self.calls: list[Credentials | None] = []

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        self.calls.append(refused)
        await asyncio.sleep(0)
        return _credentials("old" if refused is None else "new")


class _FakeHost:
    """Accepts the new key, in the header or the query."""

    def __init__(self, *, strips_header: bool = False, rejection: HttpReply = UNKNOWN_KEY) -> None:
        self.strips_header = strips_header
        self.rejection = rejection
        self.key_locations: list[str] = []

    async def __call__(self, headers: Mapping[str, str], params: Sequence[tuple[str, str]]) -> HttpReply:
        await asyncio.sleep(0)
        assert not (headers and params), "the query would take precedence over the header"
        self.key_locations.append("query" if params else "header")
        if params:
            return OK if ("consumer_key", "ck_new") in params else self.rejection
        accepted = not self.strips_header and headers["Authorization"] == "Basic Y2tfbmV3OmNzX25ldw=="
        return OK if accepted else self.rejection


def _authenticator(provider: _RenewingProvider, shops: QueryAuthShops, *, secure: bool = True) -> Authenticator:
    return Authenticator(SHOP, provider, shops, secure=secure)


async def test_concurrent_requests_renew_rejected_credentials_once() -> None:
    provider, host = _RenewingProvider(), _FakeHost()
    authenticator = _authenticator(provider, QueryAuthShops())
    replies = await asyncio.gather(*(authenticator.send(host, _sign) for _ in range(4)))
    assert {reply.status for reply in replies} == {200}
    assert provider.calls == [None, _credentials("old")]


async def test_a_shop_that_accepted_the_key_in_the_query_is_remembered() -> None:
    shops = QueryAuthShops()
    authenticator = _authenticator(_RenewingProvider(), shops)
    assert (await authenticator.send(_FakeHost(strips_header=True), _sign)).status == 200
    assert SHOP in shops
    host = _FakeHost(strips_header=True)
    assert (await authenticator.send(host, _sign)).status == 200
    assert host.key_locations == ["query"]


async def test_a_shop_that_rejects_the_key_in_the_query_is_forgotten() -> None:
    shops = QueryAuthShops()
    shops.add(SHOP)
    host = _FakeHost(rejection=PASSWORD_PROMPT)
    assert (await _authenticator(_RenewingProvider(), shops).send(host, _sign)).status == 200
    assert SHOP not in shops
    assert host.key_locations == ["query", "header"]


async def test_over_plain_http_requests_are_signed_and_no_secret_is_sent() -> None:
    sent: list[tuple[Mapping[str, str], Sequence[tuple[str, str]]]] = []

    async def host(headers: Mapping[str, str], params: Sequence[tuple[str, str]]) -> HttpReply:
        sent.append((headers, params))
        return OK

    await _authenticator(_RenewingProvider(), QueryAuthShops(), secure=False).send(host, _sign)
    assert sent == [({}, _sign("ck_old", "cs_old", 0))]


async def test_a_rejected_signature_is_repeated_with_the_stores_clock() -> None:
    tomorrow = format_datetime(datetime.now(UTC) + timedelta(days=1))
    rejection = HttpReply(status=401, headers={"Date": tomorrow}, body=b"{}")
    sent: list[int] = []

    async def host(headers: Mapping[str, str], params: Sequence[tuple[str, str]]) -> HttpReply:
        sent.append(int(dict(params)["oauth_timestamp"]))
        return OK if sent[-1] > 86_000 else rejection

    authenticator = _authenticator(_RenewingProvider(), QueryAuthShops(), secure=False)
    assert (await authenticator.send(host, _sign)).status == 200
    assert (await authenticator.send(host, _sign)).status == 200
    assert [ahead > 86_000 for ahead in sent] == [False, True, True]


async def test_a_password_prompt_of_the_web_server_is_never_answered_with_the_key_in_the_query() -> None:
    host = _FakeHost(strips_header=True, rejection=PASSWORD_PROMPT)
    assert (await _authenticator(_RenewingProvider(), QueryAuthShops()).send(host, _sign)).status == 401
    assert set(host.key_locations) == {"header"}


async def test_a_key_without_its_secret_counts_as_no_credentials() -> None:
    class KeyOnlyProvider:
        async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
            return {"consumer_key": Secret("ck")}

    with pytest.raises(CredentialsNotFound):
        await Authenticator(SHOP, KeyOnlyProvider(), QueryAuthShops(), secure=True).send(_FakeHost(), _sign)


def test_the_number_of_remembered_shops_is_bounded() -> None:
    shops = QueryAuthShops(max_shops=2)
    first, second, third = (Shop("woocommerce", f"{name}.example") for name in "abc")
    for shop in (first, second, first, third):
        shops.add(shop)
    assert (first in shops, second in shops, third in shops) == (True, False, True)


async def test_concurrent_rejected_requests_ask_once_for_credentials_that_stay_the_same() -> None:
    class UnchangedProvider(_RenewingProvider):
        async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
            await super().credentials(shop, refused=refused)
            return credentials

    credentials, provider = _credentials("old"), UnchangedProvider()
    authenticator = _authenticator(provider, QueryAuthShops())
    host = _FakeHost(rejection=PASSWORD_PROMPT)
    replies = await asyncio.gather(*(authenticator.send(host, _sign) for _ in range(5)))
    assert {reply.status for reply in replies} == {401}
    assert provider.calls == [None, credentials]


URL_OF_PRODUCTS = URL("http://store.example:8088/shop/wp-json/wc/v3/products")
PARAMS = (("_fields", "id,name"), ("per_page", "1"), ("search", "Ünï & ~co= +"))
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def test_the_signature_base_string_is_that_of_the_rfc() -> None:
    """RFC 5849, section 3.4.1.1, with the parameters of query, header and body together."""
    query = "b5=%3D%253D&a3=a&c%40=&a2=r%20b&c2&a3=2+q"
    params = [
        *parse_qsl(query, keep_blank_values=True),
        ("oauth_consumer_key", "9djdj82h48djs9d2"),
        ("oauth_token", "kkk9d7dh3k39sjv7"),
        ("oauth_signature_method", "HMAC-SHA1"),
        ("oauth_timestamp", "137131201"),
        ("oauth_nonce", "7d8f3e4a"),
    ]
    assert signature_base_string("post", URL("http://example.com/request"), params) == (
        "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D"
        "%26c2%3D%26oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3DHMAC-SHA1"
        "%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7"
    )


def _signed_params(nonce: str = "n1", timestamp: int = int(NOW.timestamp()), secret: str = "cs") -> dict[str, str]:
    stamp = SignatureStamp(timestamp=timestamp, nonce=nonce)
    oauth_params = sign_request("GET", URL_OF_PRODUCTS, PARAMS, key="ck", secret=secret, stamp=stamp)
    return dict((*PARAMS, *oauth_params))


def _rejection(params: dict[str, str], checker: OAuthSignatures | None = None) -> str:
    """Return the error message of a store; empty: the store accepts the signature."""
    checker = checker or OAuthSignatures(lambda: NOW)
    try:
        checker.check("GET", str(URL_OF_PRODUCTS), params, key="ck", secret="cs")
    except RestError as error:
        return str(error)
    return ""


def test_a_signature_equals_that_of_an_independent_library() -> None:
    """By oauthlib 4.0.1, with the same key, secret, nonce and timestamp."""
    stamp = SignatureStamp(timestamp=1_795_188_822, nonce="9157ec4b797aee2b3073eb740b3049a3")
    oauth_params = dict(sign_request("GET", URL_OF_PRODUCTS, PARAMS, key="ck_a", secret="cs_b", stamp=stamp))
    assert oauth_params["oauth_signature"] == "FrL0ixhlnKaeABcoa4Xg1BTmzrwG31WCzVQ2Lnt9Y/E="


def test_a_store_accepts_a_signed_request() -> None:
    assert _rejection(_signed_params()) == ""


@pytest.mark.parametrize("name", ["per_page", "oauth_nonce", "search"])
def test_a_store_rejects_a_request_that_was_changed_after_signing(name: str) -> None:
    assert "does not match" in _rejection({**_signed_params(), name: "7"})


def test_a_store_rejects_another_secret_an_old_timestamp_and_a_used_nonce() -> None:
    checker = OAuthSignatures(lambda: NOW)
    assert "does not match" in _rejection(_signed_params(secret="other"))
    assert _rejection(_signed_params(timestamp=int(NOW.timestamp()) - 1_000)) == "Invalid timestamp."
    assert _rejection(_signed_params(), checker) == ""
    assert "already been used" in _rejection(_signed_params(), checker)


def test_signed_parameters_do_not_contain_the_secret() -> None:
    assert not any("cs_very_secret" in value for value in _signed_params(secret="cs_very_secret").values())
