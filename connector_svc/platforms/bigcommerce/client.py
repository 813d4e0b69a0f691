"""HTTP client of one BigCommerce store: authentication, rate limit, and retries of truncated JSON."""

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
from connector_svc.platforms.bigcommerce.error_mapping import error_for_status
from connector_svc.platforms.bigcommerce.rate_limiter import RateLimiter

T = TypeVar("T")
Params = Sequence[tuple[str, str]]

PRODUCTS_PATH: Final = "/v3/catalog/products"
VARIANTS_PATH: Final = "/v3/catalog/variants"
BRANDS_PATH: Final = "/v3/catalog/brands"
INVENTORY_PATH: Final = "/v3/inventory/items"
HOOKS_PATH: Final = "/v3/hooks"
STORE_PATH: Final = "/v2/store"
RETRY_DELAY_SECONDS: Final = 0.5
"""Before an incomplete response is requested again; doubles for truncated JSON."""
_MAX_ATTEMPTS: Final = 3
"""For a response whose JSON is truncated."""


class ResponseTooLarge(Exception):
    """The response could not be accepted, most likely because of its size: request fewer records."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Response(Generic[T]):
    """A decoded response with status 200."""

    value: T
    server_time: datetime | None
    """The `Date` header in UTC; None when it is missing or malformed."""


class StoreClient:
    """HTTP client of one store for one pass."""

    def __init__(
        self,
        shop: Shop,
        *,
        store_hash: str,
        http: ShopHttp,
        credentials: CredentialsProvider,
        rate_limiter: RateLimiter,
        on_wait: WaitReporter,
        retry_delay_seconds: float = RETRY_DELAY_SECONDS,
    ) -> None:
        """Create a client.

        Args:
            store_hash: BigCommerce's identifier of the store, part of every path.
            rate_limiter: Shared by all clients of this store in the process.
            on_wait: Receives every wait for the rate limit when it begins.
        """
        self.shop = shop
        self.store_hash = store_hash
        self._http = http
        self._provider = credentials
        self._cached_credentials: Credentials | None = None
        self._credentials_lock = asyncio.Lock()
        self._rate_limiter = rate_limiter
        self._on_wait = on_wait
        self._retry_delay_seconds = retry_delay_seconds

    async def wait_before_retry(self) -> None:
        """Sleep before an incomplete list is requested again."""
        await asyncio.sleep(self._retry_delay_seconds)

    async def get(
        self, path: str, params: Params, decode: Callable[[bytes], T], *, raise_too_large: bool = False
    ) -> Response[T]:
        """Request `path` and decode its JSON body.

        Args:
            decode: Turns the body into the value; may raise msgspec's errors.
            raise_too_large: Whether the caller can request fewer records.

        Raises:
            SourceFailure: The request failed, or its JSON was truncated on every attempt.
            ResponseTooLarge: Instead of SourceResponseInvalid for a body that the HTTP client rejects, when
                `raise_too_large` is set.
        """
        for attempt in range(_MAX_ATTEMPTS):
            try:
                reply = await self._get_ok(path, params)
            except SourceResponseInvalid as failure:
                if raise_too_large and "http_status" not in failure.metadata:
                    raise ResponseTooLarge from failure
                raise
            try:
                return Response(value=decode(reply.body), server_time=_server_time(reply))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                if not _is_truncated_json(reply.body):
                    raise SourceResponseInvalid(self.shop) from error
            await asyncio.sleep(self._retry_delay_seconds * 2**attempt if attempt + 1 < _MAX_ATTEMPTS else 0)
        raise SourceResponseInvalid(self.shop, f"the JSON was truncated in {_MAX_ATTEMPTS} attempts")

    async def save(self, method: str, path: str, body: bytes, decode: Callable[[bytes], T]) -> T:
        """Create (POST) or change (PUT) a resource, and return the decoded reply. Raises SourceFailure.

        POST is sent once: whether a lost one was executed is not known.
        """
        reply = await self._ok(method, path, (), body)
        try:
            return decode(reply.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SourceResponseInvalid(self.shop) from error

    async def _get_ok(self, path: str, params: Params) -> HttpReply:
        return await self._ok("GET", path, params, None)

    async def _ok(self, method: str, path: str, params: Params, body: bytes | None) -> HttpReply:
        """Return a reply with status 200 or 201; after one 401 the credentials are refreshed once."""
        credentials = await self._credentials(refused=None)
        reply = await self._send(method, path, params, body, credentials)
        if reply.status == 401:
            renewed = await self._credentials(refused=credentials)
            reply = await self._send(method, path, params, body, renewed)
        if reply.status in (200, 201):
            return reply
        raise error_for_status(self.shop, reply.status, path)

    async def _send(
        self, method: str, path: str, params: Params, body: bytes | None, credentials: Credentials
    ) -> HttpReply:
        token = credentials.get("access_token")
        if token is None:
            raise CredentialsNotFound(self.shop, "the credentials have no access_token")
        headers = {"X-Auth-Token": token.reveal(), "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        async with self._rate_limiter.request(self._on_wait):
            reply = await self._http.request(
                method,
                f"/stores/{self.store_hash}{path}",
                headers=headers,
                params=params,
                body=body,
                idempotent=method != "POST",
            )
            self._rate_limiter.update(reply.headers)
            return reply

    async def _credentials(self, *, refused: Credentials | None) -> Credentials:
        async with self._credentials_lock:
            if self._cached_credentials is None or self._cached_credentials is refused:
                self._cached_credentials = await self._provider.credentials(self.shop, refused=refused)
            return self._cached_credentials


def _is_truncated_json(body: bytes) -> bool:
    """Return whether `body` is empty, or begins like a JSON object or array and is not complete."""
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


def _server_time(reply: HttpReply) -> datetime | None:
    try:
        return parsedate_to_datetime(reply.headers.get("Date", "")).astimezone(UTC)
    except ValueError:
        return None
