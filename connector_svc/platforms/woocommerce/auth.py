"""How a store is shown the API key.

Over https in the Authorization header, or in the query where hosts strip that. Over plain http, which only an
operator's override of the address brings about, nobody is shown anything: requests are signed.


Signs requests with OAuth 1.0a (RFC 5849), one-legged: how WooCommerce lets a key in over plain http.

Neither key nor secret can be read off the wire; whoever listens gets one request that works once.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final, TypeAlias
from urllib.parse import quote

from yarl import URL

from connector_svc.domain.errors import CredentialsNotFound
from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import Credentials, CredentialsProvider, HttpReply
from connector_svc.platforms.woocommerce.error_mapping import AUTHENTICATION_ERROR, store_error

_MOST_SHOPS: Final = 10_000

SendWith: TypeAlias = Callable[[Mapping[str, str], Sequence[tuple[str, str]]], Awaitable[HttpReply]]
"""Sends the request with these headers and query parameters in addition."""

Sign: TypeAlias = Callable[[str, str, int], Sequence[tuple[str, str]]]
"""The parameters that sign the request with a key and its secret, for a clock so many seconds ahead of ours."""


class QueryKeyShops:
    """The shops whose hosts strip the Authorization header, as far as this process learned; bounded."""

    def __init__(self, most: int = _MOST_SHOPS) -> None:
        self._shops: OrderedDict[Shop, None] = OrderedDict()
        self._most = most

    def __contains__(self, shop: Shop) -> bool:
        return shop in self._shops

    def add(self, shop: Shop) -> None:
        """Remembers `shop`, and forgets the one that was used longest ago when there are too many."""
        self._shops[shop] = None
        self._shops.move_to_end(shop)
        if len(self._shops) > self._most:
            self._shops.popitem(last=False)

    def discard(self, shop: Shop) -> None:
        """Forgets `shop`."""
        self._shops.pop(shop, None)


class Authenticator:
    """Shows one shop's key, and a new one when the first is refused."""

    def __init__(
        self, shop: Shop, provider: CredentialsProvider, query_shops: QueryKeyShops, *, secure: bool
    ) -> None:
        self._shop = shop
        self._provider = provider
        self._query_shops = query_shops
        self._secure = secure
        self._clock_ahead = 0
        self._credentials: Credentials | None = None
        self._renewals = 0
        self._lock = asyncio.Lock()

    async def send(self, send_with: SendWith, sign: Sign) -> HttpReply:
        """The answer to the request; 401 only when also renewed credentials were refused.

        `sign` is used over plain http. Raises CredentialsNotFound, TokenServiceUnavailable.
        """
        credentials = await self._obtain()
        renewals = self._renewals
        reply = await self._attempt(send_with, sign, credentials)
        if reply.status != 401:
            return reply
        renewed = await self._renew(credentials, renewals)
        return reply if renewed == credentials else await self._attempt(send_with, sign, renewed)

    async def _attempt(self, send_with: SendWith, sign: Sign, credentials: Credentials) -> HttpReply:
        if self._secure:
            return await self._shown(send_with, credentials)
        key, secret = _pair(self._shop, credentials)
        reply = await send_with({}, sign(key, secret, self._clock_ahead))
        if reply.status != 401:
            return reply
        # A request that HTTP repeated has spent its nonce; and clocks differ.
        self._clock_ahead = _seconds_ahead(reply)
        return await send_with({}, sign(key, secret, self._clock_ahead))

    async def _shown(self, send_with: SendWith, credentials: Credentials) -> HttpReply:
        if self._shop in self._query_shops:
            reply = await send_with({}, _query(self._shop, credentials))
            if reply.status == 401:
                self._query_shops.discard(self._shop)
            return reply
        reply = await send_with(_basic(self._shop, credentials), ())
        if not _key_did_not_arrive(reply):
            return reply
        # Never both at once: the query wins, even when it is wrong.
        again = await send_with({}, _query(self._shop, credentials))
        if again.status != 401:
            self._query_shops.add(self._shop)
        return again

    async def _obtain(self) -> Credentials:
        async with self._lock:
            if self._credentials is None:
                self._credentials = await self._provider.credentials(self._shop)
            return self._credentials

    async def _renew(self, refused: Credentials, renewals: int) -> Credentials:
        """Once for all calls that were under way with the refused ones, whatever comes of it."""
        async with self._lock:
            if self._credentials is None or self._renewals == renewals:
                self._credentials = await self._provider.credentials(self._shop, refused=refused)
                self._renewals += 1
            return self._credentials


def _key_did_not_arrive(reply: HttpReply) -> bool:
    """Whether it looks so: a store answers an unknown key and a missing one alike."""
    if reply.status != 401:
        return False
    error = store_error(reply)
    if error is None:
        return "WWW-Authenticate" not in reply.headers
    return error.code != AUTHENTICATION_ERROR or "missing" in error.message.lower()


def _seconds_ahead(reply: HttpReply) -> int:
    try:
        return round(parsedate_to_datetime(reply.headers.get("Date", "")).timestamp() - time.time())
    except ValueError:
        return 0


def _basic(shop: Shop, credentials: Credentials) -> Mapping[str, str]:
    key, secret = _pair(shop, credentials)
    token = base64.b64encode(f"{key}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


def _query(shop: Shop, credentials: Credentials) -> Sequence[tuple[str, str]]:
    key, secret = _pair(shop, credentials)
    return (("consumer_key", key), ("consumer_secret", secret))


def _pair(shop: Shop, credentials: Credentials) -> tuple[str, str]:
    """Trimmed: a store forgives a blank after the key, not after the secret."""
    try:
        pair = credentials["consumer_key"], credentials["consumer_secret"]
    except KeyError as error:
        raise CredentialsNotFound(shop, "consumer_key and consumer_secret are both needed") from error
    return pair[0].reveal().strip(), pair[1].reveal().strip()


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """What makes each signature another."""

    timestamp: int
    """Seconds since 1970, by the store's clock: it bears 15 minutes of difference."""
    nonce: str
    """Accepted once."""


def signed(
    method: str, url: URL, params: Sequence[tuple[str, str]], *, key: str, secret: str, moment: Moment
) -> Sequence[tuple[str, str]]:
    """The parameters to send beside `params`, none of which is secret. `url` without a query."""
    ours = (
        ("oauth_consumer_key", key),
        ("oauth_nonce", moment.nonce),
        ("oauth_signature_method", "HMAC-SHA256"),
        ("oauth_timestamp", str(moment.timestamp)),
    )
    base = base_string(method, url, (*params, *ours))
    digest = hmac.digest(f"{_encoded(secret)}&".encode(), base.encode(), "sha256")
    return (*ours, ("oauth_signature", base64.b64encode(digest).decode()))


def base_string(method: str, url: URL, params: Sequence[tuple[str, str]]) -> str:
    """What is signed, after section 3.4.1 of the RFC."""
    pairs = sorted((_encoded(name), _encoded(value)) for name, value in params)
    normalized = "&".join(f"{name}={value}" for name, value in pairs)
    return "&".join((method.upper(), _encoded(str(url)), _encoded(normalized)))


def _encoded(text: str) -> str:
    return quote(text, safe="~")
