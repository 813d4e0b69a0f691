"""Asks one store, and believes no answer that is not whole JSON."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Generic, TypeVar

from connector_svc.domain.errors import (
    SourceForbidden,
    SourceNotFound,
    SourceQueryRefused,
    SourceResponseInvalid,
)
from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import HttpReply, ShopHttp
from connector_svc.platforms.woocommerce.auth import Authenticator
from connector_svc.platforms.woocommerce.body import CutShort, NotJson, Parsed, parse
from connector_svc.platforms.woocommerce.refusal import PERMALINKS_HINT, refusal

T = TypeVar("T")
Params = Sequence[tuple[str, str]]

_log = logging.getLogger(__name__)
_HEADERS: Final = {"Accept": "application/json"}
"""With it WordPress also reports maintenance and fatal errors as JSON."""
_TRIES: Final = 3
"""Of an answer that breaks off."""
_PAUSE: Final = 0.5
"""Seconds before an answer that broke off is asked for again; doubles."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer(Generic[T]):
    """A success."""

    value: T
    total: int | None
    """Of the whole list; None when it is none, or something on the way took the header off."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """How many records a list has, by the store's clock."""

    total: int | None
    at: datetime | None
    """UTC; None when the store tells no time."""


class StoreClient:
    """HTTP to one store for one pass."""

    def __init__(self, shop: Shop, http: ShopHttp, authenticator: Authenticator, *, pause: float = _PAUSE) -> None:
        self.shop = shop
        self._http = http
        self._authenticator = authenticator
        self._secure = http.base_url.scheme == "https"
        self._pause = pause
        self.noise = False
        """Whether the store printed something before its JSON."""

    async def get(
        self, path: str, params: Params, read: Callable[[bytes], T], *, anonymous: bool = False
    ) -> Answer[T]:
        """What `read` makes of the JSON at `path`; `read` raises msgspec's errors. Raises SourceFailure.

        `anonymous`: without the API key, which WordPress outside WooCommerce would take for a wrong password.
        """
        for attempt in range(_TRIES):
            reply = await self._send("GET", path, params, anonymous=anonymous)
            try:
                parsed = parse(reply.body, read)
            except NotJson:
                raise _not_json(self.shop, reply) from None
            except CutShort:
                await asyncio.sleep(self._pause * 2**attempt if attempt + 1 < _TRIES else 0)
                continue
            self._note(parsed)
            return Answer(value=parsed.value, total=_total(reply.headers))
        raise SourceResponseInvalid(self.shop, "its answer breaks off, each time we ask")

    async def count(self, path: str, params: Params) -> Count:
        """How many records `path` lists. Raises SourceFailure."""
        try:
            reply = await self._send("HEAD", path, (("per_page", "1"), *params))
        except (SourceForbidden, SourceNotFound, SourceQueryRefused, SourceResponseInvalid):
            # A HEAD refusal has no body to tell why, and some firewalls refuse HEAD alone.
            return await self._count_by_get(path, params)
        if _total(reply.headers) is None:
            return await self._count_by_get(path, params)
        return _count(reply)

    async def _count_by_get(self, path: str, params: Params) -> Count:
        return _count(await self._send("GET", path, (("per_page", "1"), ("_fields", "id"), *params)))

    async def _send(self, method: str, path: str, params: Params, *, anonymous: bool = False) -> HttpReply:
        async def send_with(headers: Mapping[str, str], more: Params) -> HttpReply:
            return await self._http.request(method, path, headers={**_HEADERS, **headers}, params=(*params, *more))

        reply = await (send_with({}, ()) if anonymous else self._authenticator.send(send_with))
        if 200 <= reply.status < 300:
            return reply
        raise refusal(self.shop, reply, secure=self._secure)

    def _note(self, parsed: Parsed[T]) -> None:
        if parsed.noise and not self.noise:
            self.noise = True
            _log.warning("%s: something stands before the JSON of its answers, such as notices of PHP", self.shop)


def _not_json(shop: Shop, reply: HttpReply) -> SourceResponseInvalid:
    kind = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if "json" in kind:
        return SourceResponseInvalid(shop, "JSON of another shape than the API's")
    return SourceResponseInvalid(shop, f"HTTP {reply.status} with a web page instead of JSON. {PERMALINKS_HINT}")


def _count(reply: HttpReply) -> Count:
    return Count(total=_total(reply.headers), at=_date(reply.headers))


def _total(headers: Mapping[str, str]) -> int | None:
    text = headers.get("X-WP-Total", "").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _date(headers: Mapping[str, str]) -> datetime | None:
    try:
        return parsedate_to_datetime(headers.get("Date", "")).astimezone(UTC)
    except ValueError:
        return None
