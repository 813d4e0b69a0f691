"""Asks one store, and believes no answer that is not whole JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Generic, TypeVar

import msgspec

from connector_svc.domain.errors import CredentialsNotFound, SourceResponseInvalid
from connector_svc.domain.fetch import WaitReporter
from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import Credentials, CredentialsProvider, HttpReply, ShopHttp
from connector_svc.platforms.bigcommerce.error_mapping import refusal
from connector_svc.platforms.bigcommerce.rate_limiter import Pace

T = TypeVar("T")
Params = Sequence[tuple[str, str]]

PRODUCTS: Final = "/v3/catalog/products"
VARIANTS: Final = "/v3/catalog/variants"
BRANDS: Final = "/v3/catalog/brands"
INVENTORY: Final = "/v3/inventory/items"
STORE: Final = "/v2/store"
_TRIES: Final = 3
"""Of an answer that breaks off."""
PAUSE: Final = 0.5
"""Seconds before an answer that is not whole is asked for again; doubles."""


class TooMuch(Exception):
    """The answer could not be taken, most likely for its size: ask for less."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer(Generic[T]):
    """A success."""

    value: T
    at: datetime | None
    """The platform's clock, UTC; None when it tells no time."""


class StoreClient:
    """HTTP to one store for one pass; `store_hash` is BigCommerce's name for it."""

    def __init__(
        self,
        shop: Shop,
        *,
        store_hash: str,
        http: ShopHttp,
        credentials: CredentialsProvider,
        pace: Pace,
        on_wait: WaitReporter,
        pause: float = PAUSE,
    ) -> None:
        self.shop = shop
        self.store_hash = store_hash
        self._http = http
        self._provider = credentials
        self._held: Credentials | None = None
        self._lock = asyncio.Lock()
        self._pace = pace
        self._on_wait = on_wait
        self._pause = pause

    async def pause(self) -> None:
        """Waits a moment before an answer that was not whole is asked for again."""
        await asyncio.sleep(self._pause)

    async def get(
        self, path: str, params: Params, read: Callable[[bytes], T], *, can_shrink: bool = False
    ) -> Answer[T]:
        """What `read` makes of the JSON at `path`; `read` raises msgspec's errors.

        Raises SourceFailure; TooMuch instead of one about the answer's size where the caller can ask for less.
        """
        for attempt in range(_TRIES):
            try:
                reply = await self._success(path, params)
            except SourceResponseInvalid as failure:
                if can_shrink and "http_status" not in failure.metadata:
                    raise TooMuch from failure
                raise
            try:
                return Answer(value=read(reply.body), at=_date(reply))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                if not _breaks_off(reply.body):
                    raise SourceResponseInvalid(self.shop) from error
            await asyncio.sleep(self._pause * 2**attempt if attempt + 1 < _TRIES else 0)
        raise SourceResponseInvalid(self.shop, "its answer breaks off, each time we ask")

    async def _success(self, path: str, params: Params) -> HttpReply:
        held = await self._credentials(refused=None)
        reply = await self._send(path, params, held)
        if reply.status == 401:
            reply = await self._send(path, params, await self._credentials(refused=held))
        if reply.status == 200:
            return reply
        raise refusal(self.shop, reply.status, path)

    async def _send(self, path: str, params: Params, credentials: Credentials) -> HttpReply:
        token = credentials.get("access_token")
        if token is None:
            raise CredentialsNotFound(self.shop, "the credentials hold no access_token")
        headers = {"X-Auth-Token": token.reveal(), "Accept": "application/json"}
        async with self._pace.request(self._on_wait):
            reply = await self._http.request(
                "GET", f"/stores/{self.store_hash}{path}", headers=headers, params=params
            )
            self._pace.learned(reply.headers)
            return reply

    async def _credentials(self, *, refused: Credentials | None) -> Credentials:
        async with self._lock:
            if self._held is None or self._held is refused:
                self._held = await self._provider.credentials(self.shop, refused=refused)
            return self._held


def _breaks_off(body: bytes) -> bool:
    """Whether it begins as JSON does, or is empty, and is not whole."""
    text = body.strip()
    if text and text[:1] not in b"{[":
        return False
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except RecursionError:
        return False
    except msgspec.DecodeError:
        return True
    return False


def _date(reply: HttpReply) -> datetime | None:
    try:
        return parsedate_to_datetime(reply.headers.get("Date", "")).astimezone(UTC)
    except ValueError:
        return None
