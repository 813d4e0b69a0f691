"""Asks a Shopify shop for an access token."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

import msgspec

from connector_svc.domain.errors import (
    SourceNotFound,
    SourceResponseInvalid,
    SourceUnauthorized,
    SourceUnreachable,
)
from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import Credentials, HttpReply, Secret, ShopHttp

_PATH = "/admin/oauth/access_token"
_HEADERS = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
EARLY = timedelta(minutes=5)
"""How long before its end a token is replaced, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """An access token that Shopify handed out."""

    credentials: Credentials
    """{"access_token": ...}."""
    renew_at: datetime | None
    """UTC, when the next one should be asked for; None: it does not expire."""
    expires_at: datetime | None

    def is_due(self, now: datetime) -> bool:
        """Whether the next one should be asked for."""
        return self.renew_at is not None and now >= self.renew_at

    def lives(self, now: datetime) -> bool:
        """Whether it still works, as far as Shopify told."""
        return self.expires_at is None or now < self.expires_at


class _Answer(msgspec.Struct):
    access_token: str
    expires_in: int | None = None


def can_be_granted(kept: Credentials) -> bool:
    """Whether an app's own id and secret are among the credentials."""
    return "client_id" in kept and "client_secret" in kept


async def ask_for_grant(shop: Shop, http: ShopHttp, kept: Credentials, now: datetime) -> Grant:
    """Exchanges the refresh token, if there is one, else the app's id and secret for an access token.

    The new refresh token that comes with an exchange is not kept: the one we have goes on working until its
    successor is first used, so whoever gave it to us stays the one who stores it. Raises SourceFailure.
    """
    form = {name: kept[name].reveal() for name in ("client_id", "client_secret")}
    if "refresh_token" in kept:
        form |= {"grant_type": "refresh_token", "refresh_token": kept["refresh_token"].reveal()}
    else:
        form |= {"grant_type": "client_credentials"}
    reply = await http.request("POST", _PATH, headers=_HEADERS, body=urlencode(form).encode())
    return _granted(shop, reply, now, by_refresh="refresh_token" in kept)


def _granted(shop: Shop, reply: HttpReply, now: datetime, *, by_refresh: bool) -> Grant:
    if reply.status != 200:
        raise _refusal(shop, reply.status, by_refresh=by_refresh)
    try:
        answer = msgspec.json.decode(reply.body, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise SourceResponseInvalid(shop, "no access token where Shopify should hand one out") from None
    if answer.expires_in is None:
        return Grant(credentials=_token(answer), renew_at=None, expires_at=None)
    lifetime = timedelta(seconds=answer.expires_in)
    return Grant(
        credentials=_token(answer),
        renew_at=now + lifetime - min(EARLY, lifetime / 10),
        expires_at=now + lifetime,
    )


def _token(answer: _Answer) -> Credentials:
    return {"access_token": Secret(answer.access_token)}


def _refusal(
    shop: Shop, status: int, *, by_refresh: bool
) -> SourceUnauthorized | SourceNotFound | SourceUnreachable:
    if status == 404:
        return SourceNotFound(shop)
    if 400 <= status < 500:
        which = "the refresh token" if by_refresh else "the app's client_id and client_secret"
        return SourceUnauthorized(shop, f"Shopify does not exchange {which} for an access token, HTTP {status}")
    return SourceUnreachable(shop, f"Shopify hands out no access token, HTTP {status}")
