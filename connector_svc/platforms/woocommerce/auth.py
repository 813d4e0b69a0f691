"""Authentication of requests with a store's API key.

| Connection | How the key is sent |
|---|---|
| https | Basic authentication in the Authorization header |
| https, and the host strips that header | consumer_key and consumer_secret in the query |
| plain http (only when an operator overrides the store's address) | not at all: OAuth 1.0a signature |

Source: https://woocommerce.github.io/woocommerce-rest-api-docs/#authentication. OAuth 1.0a is RFC 5849,
one-legged: neither the secret nor a reusable request can be read off the connection; an eavesdropper gets one
request that works once.
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
from connector_svc.platforms.woocommerce.error_mapping import AUTHENTICATION_ERROR, decode_store_error

_MAX_SHOPS: Final = 10_000

SendWith: TypeAlias = Callable[[Mapping[str, str], Sequence[tuple[str, str]]], Awaitable[HttpReply]]
"""Sends the request with these additional headers and query parameters."""

Sign: TypeAlias = Callable[[str, str, int], Sequence[tuple[str, str]]]
"""Returns the parameters that sign the request, given key, secret and the lead of the store's clock in seconds."""


class QueryAuthShops:
    """The shops, of bounded number, whose hosts strip the Authorization header, as this process has learned."""

    def __init__(self, max_shops: int = _MAX_SHOPS) -> None:
        self._shops: OrderedDict[Shop, None] = OrderedDict()
        self._max_shops = max_shops

    def __contains__(self, shop: Shop) -> bool:
        return shop in self._shops

    def add(self, shop: Shop) -> None:
        """Add `shop`; beyond the maximum, evict the shop that was added longest ago."""
        self._shops[shop] = None
        self._shops.move_to_end(shop)
        if len(self._shops) > self._max_shops:
            self._shops.popitem(last=False)

    def discard(self, shop: Shop) -> None:
        """Remove `shop` if it is there."""
        self._shops.pop(shop, None)


class Authenticator:
    """Authenticates the requests to one shop, and renews its credentials when they are rejected."""

    def __init__(
        self, shop: Shop, provider: CredentialsProvider, query_auth_shops: QueryAuthShops, *, secure: bool
    ) -> None:
        """Create an authenticator; `secure`: requests are sent over https."""
        self._shop = shop
        self._provider = provider
        self._query_auth_shops = query_auth_shops
        self._secure = secure
        self._clock_ahead_seconds = 0
        self._credentials: Credentials | None = None
        self._renewals = 0
        self._lock = asyncio.Lock()

    async def send(self, send_with: SendWith, sign: Sign) -> HttpReply:
        """Send one request.

        Args:
            sign: Used over plain http.

        Returns:
            The reply; its status is 401 only when renewed credentials were rejected, too.

        Raises:
            CredentialsNotFound, TokenServiceUnavailable: There are no credentials.
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
            return await self._send_with_key(send_with, credentials)
        key, secret = _key_and_secret(self._shop, credentials)
        reply = await send_with({}, sign(key, secret, self._clock_ahead_seconds))
        if reply.status != 401:
            return reply
        # The HTTP layer may have repeated the request, whose nonce was then used already; and clocks differ.
        self._clock_ahead_seconds = _clock_ahead_seconds(reply)
        return await send_with({}, sign(key, secret, self._clock_ahead_seconds))

    async def _send_with_key(self, send_with: SendWith, credentials: Credentials) -> HttpReply:
        if self._shop in self._query_auth_shops:
            reply = await send_with({}, _query_params(self._shop, credentials))
            if reply.status == 401:
                self._query_auth_shops.discard(self._shop)
            return reply
        reply = await send_with(_basic_auth_header(self._shop, credentials), ())
        if not _is_key_missing(reply):
            return reply
        # Never header and query at once: the query takes precedence, even when it is wrong.
        second_reply = await send_with({}, _query_params(self._shop, credentials))
        if second_reply.status != 401:
            self._query_auth_shops.add(self._shop)
        return second_reply

    async def _obtain(self) -> Credentials:
        async with self._lock:
            if self._credentials is None:
                self._credentials = await self._provider.credentials(self._shop)
            return self._credentials

    async def _renew(self, rejected: Credentials, renewals: int) -> Credentials:
        """Renew once for all requests in flight with the rejected credentials, whatever the provider returns."""
        async with self._lock:
            if self._credentials is None or self._renewals == renewals:
                self._credentials = await self._provider.credentials(self._shop, refused=rejected)
                self._renewals += 1
            return self._credentials


@dataclass(frozen=True, kw_only=True, slots=True)
class SignatureStamp:
    """The parts of an OAuth signature that differ from request to request."""

    timestamp: int
    """Seconds since 1970, by the store's clock; the store tolerates a difference of 15 minutes."""
    nonce: str
    """Accepted once."""


def sign_request(
    method: str, url: URL, params: Sequence[tuple[str, str]], *, key: str, secret: str, stamp: SignatureStamp
) -> Sequence[tuple[str, str]]:
    """Return the OAuth parameters to send in addition to `params`; none of them is secret.

    Args:
        url: Without a query.
    """
    oauth_params = (
        ("oauth_consumer_key", key),
        ("oauth_nonce", stamp.nonce),
        ("oauth_signature_method", "HMAC-SHA256"),
        ("oauth_timestamp", str(stamp.timestamp)),
    )
    base = signature_base_string(method, url, (*params, *oauth_params))
    digest = hmac.digest(f"{_percent_encode(secret)}&".encode(), base.encode(), "sha256")
    return (*oauth_params, ("oauth_signature", base64.b64encode(digest).decode()))


def signature_base_string(method: str, url: URL, params: Sequence[tuple[str, str]]) -> str:
    """Return the text that is signed (RFC 5849, section 3.4.1)."""
    pairs = sorted((_percent_encode(name), _percent_encode(value)) for name, value in params)
    normalized = "&".join(f"{name}={value}" for name, value in pairs)
    return "&".join((method.upper(), _percent_encode(str(url)), _percent_encode(normalized)))


def _percent_encode(text: str) -> str:
    return quote(text, safe="~")


def _is_key_missing(reply: HttpReply) -> bool:
    """Return whether the key seems not to have arrived: a store answers an unknown and a missing key alike."""
    if reply.status != 401:
        return False
    error = decode_store_error(reply)
    if error is None:
        return "WWW-Authenticate" not in reply.headers
    return error.code != AUTHENTICATION_ERROR or "missing" in error.message.lower()


def _clock_ahead_seconds(reply: HttpReply) -> int:
    try:
        return round(parsedate_to_datetime(reply.headers.get("Date", "")).timestamp() - time.time())
    except ValueError:
        return 0


def _basic_auth_header(shop: Shop, credentials: Credentials) -> Mapping[str, str]:
    key, secret = _key_and_secret(shop, credentials)
    token = base64.b64encode(f"{key}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


def _query_params(shop: Shop, credentials: Credentials) -> Sequence[tuple[str, str]]:
    key, secret = _key_and_secret(shop, credentials)
    return (("consumer_key", key), ("consumer_secret", secret))


def _key_and_secret(shop: Shop, credentials: Credentials) -> tuple[str, str]:
    """Strip both: a store ignores whitespace after the key, not after the secret."""
    try:
        pair = credentials["consumer_key"], credentials["consumer_secret"]
    except KeyError as error:
        raise CredentialsNotFound(shop, "consumer_key and consumer_secret are both needed") from error
    return pair[0].reveal().strip(), pair[1].reveal().strip()
