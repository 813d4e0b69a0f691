"""Access tokens of Shopify shops that expire and are renewed.

Several providers as one."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from weakref import WeakValueDictionary

from connector_svc.domain.errors import (
    CredentialsNotFound,
    SourceRateLimited,
    SourceUnauthorized,
    SourceUnreachable,
    TokenServiceUnavailable,
)
from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import Credentials, CredentialsProvider, HttpFactory
from connector_svc.platforms.shopify.access_token import EARLY, Grant, ask_for_grant, can_be_granted

_log = logging.getLogger(__name__)

_SHOPS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class _Held:
    kept: Credentials
    """What the grant was asked for with."""
    grant: Grant


class ShopifyTokens:
    """Answers another provider's credentials, or an access token where those are an app's id and secret.

    A token is renewed ahead of its end, by one caller at a time for a shop. When that cannot be done now, the old
    one is answered as long as it lives. Credentials with an access token that has no end, and those of other
    platforms, are handed on as they are.
    """

    def __init__(
        self, kept: CredentialsProvider, http: HttpFactory, clock: Callable[[], datetime], *, shops: int = _SHOPS
    ) -> None:
        self._kept = kept
        self._http = http
        self._clock = clock
        self._shops = shops
        self._held: OrderedDict[Shop, _Held] = OrderedDict()
        self._locks: WeakValueDictionary[Shop, asyncio.Lock] = WeakValueDictionary()

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        """See `CredentialsProvider`. Raises CredentialsNotFound, TokenServiceUnavailable, SourceFailure."""
        if shop.platform != "shopify":
            return await self._kept.credentials(shop, refused=refused)
        lock = self._locks.setdefault(shop, asyncio.Lock())
        async with lock:
            held = self._held.get(shop)
            if held is not None and held.grant.credentials == refused:
                held = None
            try:
                return await self._current(shop, held, refused)
            except (SourceUnreachable, SourceRateLimited, TokenServiceUnavailable) as failure:
                if held is None or not held.grant.lives(self._clock()):
                    raise
                _log.warning("a token is used on, it cannot be renewed now", extra={"why": failure.reason})
                return held.grant.credentials

    async def _current(self, shop: Shop, held: _Held | None, refused: Credentials | None) -> Credentials:
        kept = await self._kept.credentials(shop, refused=refused)
        if not can_be_granted(kept):
            return kept
        if held is not None and held.kept == kept and not held.grant.is_due(self._clock()):
            return held.grant.credentials
        if kept != refused and self._works(kept):
            return kept
        try:
            return await self._granted(shop, kept)
        except SourceUnauthorized:
            # The provider may have answered from memory what was replaced meanwhile.
            other = await self._kept.credentials(shop, refused=kept)
            if other == kept:
                raise
            return await self._granted(shop, other)

    def _works(self, kept: Credentials) -> bool:
        """Whether a token came along whose end is not near."""
        if "access_token" not in kept:
            return False
        text = kept["expires_at"].reveal() if "expires_at" in kept else ""
        try:
            expires_at = datetime.fromisoformat(text)
        except ValueError:
            return False
        return expires_at.tzinfo is not None and expires_at - self._clock() > EARLY

    async def _granted(self, shop: Shop, kept: Credentials) -> Credentials:
        grant = await ask_for_grant(shop, self._http.to_shop(shop), kept, self._clock())
        self._held[shop] = _Held(kept=kept, grant=grant)
        self._held.move_to_end(shop)
        while len(self._held) > self._shops:
            self._held.popitem(last=False)
        return grant.credentials


class FirstOf:
    """Asks each provider in turn, until one knows the shop. A provider that is down ends the search."""

    def __init__(self, *providers: CredentialsProvider) -> None:
        self._providers = providers

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        """See `CredentialsProvider`. Raises CredentialsNotFound when none knows the shop."""
        for provider in self._providers:
            try:
                return await provider.credentials(shop, refused=refused)
            except CredentialsNotFound:
                continue
        raise CredentialsNotFound(shop)
