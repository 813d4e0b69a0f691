"""Requests access tokens from a Shopify shop, with an app's client credentials or with a refresh token."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from urllib.parse import urlencode

import msgspec

from connector_svc.domain.errors import (
    SourceNotFound,
    SourceResponseInvalid,
    SourceUnauthorized,
    SourceUnreachable,
)
from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import AccessToken, Credentials, HttpFactory, HttpReply, Secret, is_sendable

_PATH: Final = "/admin/oauth/access_token"
_HEADERS: Final = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}


class _TokenReply(msgspec.Struct):
    access_token: str
    expires_in: int | None = None
    """Seconds; None: the token does not expire."""

    def __repr__(self) -> str:
        return "_TokenReply(***)"


class ShopifyTokenExchange:
    """The `TokenExchange` of Shopify, for credentials that hold an app's client_id and client_secret."""

    def applies_to(self, stored: Credentials) -> bool:
        """See `TokenExchange.applies_to`."""
        return "client_id" in stored and "client_secret" in stored

    async def request_token(self, shop: Shop, http: HttpFactory, stored: Credentials) -> AccessToken:
        """Exchange the refresh token, if there is one, else the app's id and secret, for an access token.

        The new refresh token in the reply is dropped: the one we have keeps working until its successor is first
        used, so whoever gave it to us remains the one who stores it.

        Raises:
            SourceNotFound: There is no such shop.
            SourceUnauthorized: Shopify rejects the refresh token or the app's credentials.
            SourceResponseInvalid: The reply holds no access token.
            SourceFailure: The shop cannot be reached.
        """
        form = {name: stored[name].reveal() for name in ("client_id", "client_secret")}
        if "refresh_token" in stored:
            form |= {"grant_type": "refresh_token", "refresh_token": stored["refresh_token"].reveal()}
        else:
            form |= {"grant_type": "client_credentials"}
        reply = await http.to_shop(shop).request("POST", _PATH, headers=_HEADERS, body=urlencode(form).encode())
        return _parse_reply(shop, reply, by_refresh="refresh_token" in stored)


def _parse_reply(shop: Shop, reply: HttpReply, *, by_refresh: bool) -> AccessToken:
    if reply.status != 200:
        raise _to_failure(shop, reply.status, by_refresh=by_refresh)
    try:
        granted = msgspec.json.decode(reply.body, type=_TokenReply)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise SourceResponseInvalid(shop, "Shopify's token endpoint answers without an access token") from None
    if not is_sendable(granted.access_token):
        raise SourceResponseInvalid(shop, "Shopify's token endpoint answers with a token that cannot be sent")
    lifetime = None if granted.expires_in is None else timedelta(seconds=granted.expires_in)
    return AccessToken(credentials={"access_token": Secret(granted.access_token)}, lifetime=lifetime)


def _to_failure(
    shop: Shop, status: int, *, by_refresh: bool
) -> SourceUnauthorized | SourceNotFound | SourceUnreachable:
    if status == 404:
        return SourceNotFound(shop)
    if 400 <= status < 500:
        which = "the refresh token" if by_refresh else "the app's client_id and client_secret"
        return SourceUnauthorized(shop, f"Shopify does not exchange {which} for an access token, HTTP {status}")
    return SourceUnreachable(shop, f"Shopify grants no access token, HTTP {status}")
