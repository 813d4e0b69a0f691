"""Keys reach the store the way its host lets them, and are renewed once however many calls run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from connector_svc.domain.errors import CredentialsNotFound
from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import Credentials, HttpReply, Secret
from connector_svc.platforms.woocommerce.auth import Authenticator, QueryKeyShops

SHOP = Shop("woocommerce", "store.example")
OK = HttpReply(status=200, headers={}, body=b"[]")
UNKNOWN = HttpReply(status=401, headers={}, body=b'{"code": "woocommerce_rest_cannot_view", "message": ""}')
PASSWORD = HttpReply(status=401, headers={"WWW-Authenticate": "Basic"}, body=b"<html></html>")


def _keys(name: str) -> Credentials:
    return {"consumer_key": Secret(f"ck_{name}"), "consumer_secret": Secret(f"cs_{name}")}


def _sign(key: str, secret: str, clock_ahead: int) -> Sequence[tuple[str, str]]:
    return (("oauth_consumer_key", key), ("oauth_timestamp", str(clock_ahead)), ("oauth_signature", "made"))


class _Renewing:
    def __init__(self) -> None:
        self.asked: list[Credentials | None] = []

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        self.asked.append(refused)
        await asyncio.sleep(0)
        return _keys("old" if refused is None else "new")


class _Door:
    """Opens for one key, in the header or the query."""

    def __init__(self, *, strips: bool = False, refusal: HttpReply = UNKNOWN) -> None:
        self.strips = strips
        self.refusal = refusal
        self.ways: list[str] = []

    async def __call__(self, headers: Mapping[str, str], params: Sequence[tuple[str, str]]) -> HttpReply:
        await asyncio.sleep(0)
        assert not (headers and params), "the query would win over the header"
        self.ways.append("query" if params else "header")
        if params:
            return OK if ("consumer_key", "ck_new") in params else self.refusal
        opens = not self.strips and headers["Authorization"] == "Basic Y2tfbmV3OmNzX25ldw=="
        return OK if opens else self.refusal


def _authenticator(provider: _Renewing, shops: QueryKeyShops, *, secure: bool = True) -> Authenticator:
    return Authenticator(SHOP, provider, shops, secure=secure)


async def test_calls_side_by_side_renew_refused_keys_once() -> None:
    provider, door = _Renewing(), _Door()
    authenticator = _authenticator(provider, QueryKeyShops())
    replies = await asyncio.gather(*(authenticator.send(door, _sign) for _ in range(4)))
    assert {reply.status for reply in replies} == {200}
    assert provider.asked == [None, _keys("old")]


async def test_a_shop_that_was_read_by_the_query_is_remembered() -> None:
    shops = QueryKeyShops()
    authenticator = _authenticator(_Renewing(), shops)
    assert (await authenticator.send(_Door(strips=True), _sign)).status == 200
    assert SHOP in shops
    door = _Door(strips=True)
    assert (await authenticator.send(door, _sign)).status == 200
    assert door.ways == ["query"]


async def test_a_shop_whose_query_is_refused_is_forgotten() -> None:
    shops = QueryKeyShops()
    shops.add(SHOP)
    door = _Door(refusal=PASSWORD)
    assert (await _authenticator(_Renewing(), shops).send(door, _sign)).status == 200
    assert SHOP not in shops
    assert door.ways == ["query", "header"]


async def test_over_plain_http_requests_are_signed_and_nothing_is_shown() -> None:
    sent: list[tuple[Mapping[str, str], Sequence[tuple[str, str]]]] = []

    async def door(headers: Mapping[str, str], params: Sequence[tuple[str, str]]) -> HttpReply:
        sent.append((headers, params))
        return OK

    await _authenticator(_Renewing(), QueryKeyShops(), secure=False).send(door, _sign)
    assert sent == [({}, _sign("ck_old", "cs_old", 0))]


async def test_a_refused_signature_is_made_once_more_by_the_stores_clock() -> None:
    tomorrow = format_datetime(datetime.now(UTC) + timedelta(days=1))
    refused = HttpReply(status=401, headers={"Date": tomorrow}, body=b"{}")
    sent: list[int] = []

    async def door(headers: Mapping[str, str], params: Sequence[tuple[str, str]]) -> HttpReply:
        sent.append(int(dict(params)["oauth_timestamp"]))
        return OK if sent[-1] > 86_000 else refused

    authenticator = _authenticator(_Renewing(), QueryKeyShops(), secure=False)
    assert (await authenticator.send(door, _sign)).status == 200
    assert (await authenticator.send(door, _sign)).status == 200
    assert [ahead > 86_000 for ahead in sent] == [False, True, True]


async def test_a_web_servers_own_password_prompt_gets_no_key_in_the_query() -> None:
    door = _Door(strips=True, refusal=PASSWORD)
    assert (await _authenticator(_Renewing(), QueryKeyShops()).send(door, _sign)).status == 401
    assert set(door.ways) == {"header"}


async def test_a_key_without_its_secret_counts_as_no_credentials() -> None:
    class Half:
        async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
            return {"consumer_key": Secret("ck")}

    with pytest.raises(CredentialsNotFound):
        await Authenticator(SHOP, Half(), QueryKeyShops(), secure=True).send(_Door(), _sign)


def test_what_is_remembered_of_shops_is_bounded() -> None:
    shops = QueryKeyShops(most=2)
    first, second, third = (Shop("woocommerce", f"{name}.example") for name in "abc")
    for shop in (first, second, first, third):
        shops.add(shop)
    assert (first in shops, second in shops, third in shops) == (True, False, True)


async def test_keys_that_stay_the_same_are_asked_for_once_by_all_calls_that_were_refused_together() -> None:
    class Unmoved(_Renewing):
        async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
            await super().credentials(shop, refused=refused)
            return keys

    keys, provider = _keys("old"), Unmoved()
    authenticator = _authenticator(provider, QueryKeyShops())
    replies = await asyncio.gather(*(authenticator.send(_Door(refusal=PASSWORD), _sign) for _ in range(5)))
    assert {reply.status for reply in replies} == {401}
    assert provider.asked == [None, keys]
