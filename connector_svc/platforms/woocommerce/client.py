"""HTTP client of one store, and what the process remembers of each store.

The client accepts no response that is not complete JSON.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final, Generic, TypeVar

from yarl import URL

from connector_svc.domain.errors import (
    SourceForbidden,
    SourceNotFound,
    SourceQueryRefused,
    SourceResponseInvalid,
)
from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import HttpReply, ShopHttp
from connector_svc.platforms.woocommerce.auth import Authenticator, SignatureStamp, sign_request
from connector_svc.platforms.woocommerce.concurrency_limiter import MAX_CONCURRENT_CALLS, ConcurrencyLimiter
from connector_svc.platforms.woocommerce.error_mapping import is_web_page, map_error, map_not_json
from connector_svc.platforms.woocommerce.json_salvage import JsonBody, NotJson, TruncatedJson, decode_json_body
from connector_svc.platforms.woocommerce.wire import API_ROOT, PER_PAGE

T = TypeVar("T")
Params = Sequence[tuple[str, str]]

_log = logging.getLogger(__name__)
_HEADERS: Final = {"Accept": "application/json"}
"""With this header WordPress reports maintenance and fatal errors as JSON, too."""
_BODY_HEADERS: Final = {"Content-Type": "application/json"}
_NUMBER: Final = re.compile(r"\d+")
_FULL_PAGE: Final = str(PER_PAGE)
_SLOW_PATH: Final = "/system_status"
"""The only call for a single object that takes seconds on some stores."""
_MAX_ATTEMPTS: Final = 3
"""Of a request whose response is truncated."""
_RETRY_DELAY_SECONDS: Final = 0.5
"""Before the first retry of a truncated response; doubles."""
_MAX_SHOPS: Final = 10_000


class AddressForm(Enum):
    """How the addresses of a store's REST API are written."""

    PRETTY = "pretty"
    """/wp-json/wc/v3/...: the default of WordPress."""
    INDEX = "index"
    """/index.php/wp-json/wc/v3/...: the web server has no URL rewriting."""
    QUERY = "query"
    """/?rest_route=/wc/v3/...: "plain" permalinks."""

    def address(self, path: str, params: Params) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Return path and parameters in this form for a `path` in the form PRETTY."""
        match self:
            case AddressForm.PRETTY:
                return path, tuple(params)
            case AddressForm.INDEX:
                return f"/index.php{path}", tuple(params)
            case AddressForm.QUERY:
                # WooCommerce reads API keys only where "wp-json/wc/" is part of the request line.
                route = ("rest_route", path.removeprefix(API_ROOT)), ("address", "wp-json/wc/")
                return "/", (*route, *params)


@dataclass(slots=True)
class StoreState:
    """What is known of one store; shared by all its readers in the process."""

    address_form: AddressForm = AddressForm.PRETTY
    home_url: str = ""
    """The store's address according to its settings, which it uses in signatures; empty: unknown."""
    limiter: ConcurrencyLimiter = field(default_factory=ConcurrencyLimiter)


class StoreStates:
    """The states of all stores: an LRU cache."""

    def __init__(
        self,
        max_shops: int = _MAX_SHOPS,
        *,
        max_concurrent_calls: int = MAX_CONCURRENT_CALLS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create an empty cache.

        Args:
            max_concurrent_calls: To one store.
            monotonic: The clock in seconds that measures latencies.
        """
        self._states: OrderedDict[Shop, StoreState] = OrderedDict()
        self._max_shops = max_shops
        self._max_concurrent_calls = max_concurrent_calls
        self._monotonic = monotonic

    def get_or_create(self, shop: Shop) -> StoreState:
        """Return the one state of `shop`."""
        state = self._states.get(shop)
        if state is None:
            limiter = ConcurrencyLimiter(self._monotonic, max_limit=self._max_concurrent_calls)
            state = self._states[shop] = StoreState(limiter=limiter)
        self._states.move_to_end(shop)
        if len(self._states) > self._max_shops:
            self._states.popitem(last=False)
        return state


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreResponse(Generic[T]):
    """A successful response."""

    value: T
    total: int | None
    """Length of the whole list; None: the response is not a list, or a proxy removed the header."""
    at: datetime | None = None
    """UTC, by the store's clock; None: the response has no date."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListCount:
    """The length of a list."""

    total: int | None
    """None: the store does not report it."""
    at: datetime | None
    """UTC, by the store's clock; None: the response has no date."""


class StoreClient:
    """HTTP client of one store for one pass."""

    def __init__(
        self,
        shop: Shop,
        http: ShopHttp,
        authenticator: Authenticator,
        *,
        state: StoreState | None = None,
        retry_delay_seconds: float = _RETRY_DELAY_SECONDS,
    ) -> None:
        self.shop = shop
        self.state = state or StoreState()
        self.address_form = self.state.address_form
        """The form of the addresses in this pass."""
        self._http = http
        self._authenticator = authenticator
        self.origin = http.base_url.origin()
        """Scheme, host and port of the requests."""
        self._secure = http.base_url.scheme == "https"
        self._retry_delay_seconds = retry_delay_seconds
        self.has_noise = False
        """Whether the store printed something before its JSON."""

    async def get(
        self, path: str, params: Params, decode: Callable[[bytes], T], *, anonymous: bool = False
    ) -> StoreResponse[T]:
        """Send a GET request and decode the JSON of the response.

        Args:
            decode: Decodes JSON text; raises msgspec's errors.
            anonymous: Send no API key: outside WooCommerce, WordPress would take the key for a wrong password.

        Raises:
            SourceFailure: There is no valid response.
        """
        for attempt in range(_MAX_ATTEMPTS):
            reply = await self._send("GET", path, params, anonymous=anonymous)
            try:
                if is_web_page(reply):
                    raise NotJson
                body = decode_json_body(reply.body, decode)
            except NotJson:
                raise map_not_json(self.shop, reply) from None
            except TruncatedJson:
                await asyncio.sleep(self._retry_delay_seconds * 2**attempt if attempt + 1 < _MAX_ATTEMPTS else 0)
                continue
            self._note_noise(body)
            return StoreResponse(value=body.value, total=_total(reply.headers), at=_date(reply.headers))
        raise SourceResponseInvalid(self.shop, f"the response is truncated, at each of {_MAX_ATTEMPTS} attempts")

    async def save(self, method: str, path: str, body: bytes, decode: Callable[[bytes], T]) -> T:
        """Create (POST) or change (PUT) a resource, and return the decoded reply. Raise SourceFailure.

        POST is sent once: whether a lost one was executed is not known.
        """
        reply = await self._send(method, path, (), body=body)
        try:
            return decode_json_body(reply.body, decode).value
        except (NotJson, TruncatedJson):
            raise map_not_json(self.shop, reply) from None

    async def count(self, path: str, params: Params) -> ListCount:
        """Return how many records `path` lists. Raise SourceFailure."""
        try:
            reply = await self._send("HEAD", path, (("per_page", "1"), *params))
        except (SourceForbidden, SourceNotFound, SourceQueryRefused, SourceResponseInvalid):
            # An error response to HEAD has no body with the cause, and some firewalls block HEAD alone.
            return await self._count_by_get(path, params)
        if _total(reply.headers) is None:
            return await self._count_by_get(path, params)
        return _list_count(reply)

    async def _count_by_get(self, path: str, params: Params) -> ListCount:
        return _list_count(await self._send("GET", path, (("per_page", "1"), ("_fields", "id"), *params)))

    async def _send(
        self, method: str, path: str, params: Params, *, anonymous: bool = False, body: bytes | None = None
    ) -> HttpReply:
        address, address_params = self.address_form.address(path, params)

        async def send_with(headers: Mapping[str, str], auth_params: Params) -> HttpReply:
            async with self.state.limiter.call(_call_kind(method, path, params)) as call:
                reply = await self._http.request(
                    method,
                    address,
                    headers={**_HEADERS, **({} if body is None else _BODY_HEADERS), **headers},
                    params=(*address_params, *auth_params),
                    body=body,
                    idempotent=method != "POST",
                )
                call.size_bytes, call.is_error = len(reply.body), reply.status >= 400
                return reply

        def sign(key: str, secret: str, clock_ahead_seconds: int) -> Params:
            stamp = SignatureStamp(timestamp=int(time.time()) + clock_ahead_seconds, nonce=secrets.token_hex(16))
            url = self._signed_url(address)
            return sign_request(method, url, address_params, key=key, secret=secret, stamp=stamp)

        reply = await (send_with({}, ()) if anonymous else self._authenticator.send(send_with, sign))
        if 200 <= reply.status < 300:
            return reply
        raise map_error(self.shop, reply, secure=self._secure)

    def _signed_url(self, path: str) -> URL:
        """Return the URL to sign: a store checks signatures with its own address, whichever one was called."""
        home = URL(self.state.home_url) if self.state.home_url else self._http.base_url
        return home.with_scheme("http").with_query(None).with_path(home.path.rstrip("/") + path)

    def _note_noise(self, body: JsonBody[T]) -> None:
        if body.has_noise and not self.has_noise:
            self.has_noise = True
            _log.warning("%s: responses contain output before their JSON, such as PHP notices", self.shop)


def _call_kind(method: str, path: str, params: Params) -> str:
    """Return the kind for the concurrency limiter; calls of one kind take about the same time."""
    if dict(params).get("per_page") == _FULL_PAGE or path.endswith(_SLOW_PATH):
        return f"{method} {_NUMBER.sub('#', path)}"
    return "small"


def _list_count(reply: HttpReply) -> ListCount:
    return ListCount(total=_total(reply.headers), at=_date(reply.headers))


def _total(headers: Mapping[str, str]) -> int | None:
    text = headers.get("X-WP-Total", "").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _date(headers: Mapping[str, str]) -> datetime | None:
    try:
        return parsedate_to_datetime(headers.get("Date", "")).astimezone(UTC)
    except ValueError:
        return None
