"""Asks one store, and believes no answer that is not whole JSON.

Where a store's REST API is, and what the process remembers of each store."""

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
from connector_svc.platforms.woocommerce.auth import Authenticator, Moment, signed
from connector_svc.platforms.woocommerce.concurrency_limiter import MOST_CALLS, Gate
from connector_svc.platforms.woocommerce.error_mapping import PERMALINKS_HINT, refusal
from connector_svc.platforms.woocommerce.json_salvage import CutShort, NotJson, Parsed, parse

_log = logging.getLogger(__name__)

T = TypeVar("T")
Params = Sequence[tuple[str, str]]

_HEADERS: Final = {"Accept": "application/json"}
"""With it WordPress also reports maintenance and fatal errors as JSON."""
_PAGES: Final = (b"<!doctype html", b"<html")
_NUMBER: Final = re.compile(r"\d+")
_WHOLE_PAGE: Final = "100"
_LONG: Final = "/system_status"
"""Of the calls for a single thing the one that takes seconds on some stores."""
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
    at: datetime | None = None
    """By the store's clock, UTC; None when the store tells no time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """How many records a list has, by the store's clock."""

    total: int | None
    at: datetime | None
    """UTC; None when the store tells no time."""


class StoreClient:
    """HTTP to one store for one pass."""

    def __init__(
        self,
        shop: Shop,
        http: ShopHttp,
        authenticator: Authenticator,
        *,
        notes: StoreNotes | None = None,
        pause: float = _PAUSE,
    ) -> None:
        self.shop = shop
        self.notes = notes or StoreNotes()
        self.form = self.notes.form
        """How this pass writes addresses."""
        self._http = http
        self._authenticator = authenticator
        self.origin = http.base_url.origin()
        """Scheme, host and port that it is called at."""
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
                if _is_page(reply):
                    raise NotJson
                parsed = parse(reply.body, read)
            except NotJson:
                raise _not_json(self.shop, reply) from None
            except CutShort:
                await asyncio.sleep(self._pause * 2**attempt if attempt + 1 < _TRIES else 0)
                continue
            self._note(parsed)
            return Answer(value=parsed.value, total=_total(reply.headers), at=_date(reply.headers))
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
        where, asked = self.form.address(path, params)

        async def send_with(headers: Mapping[str, str], more: Params) -> HttpReply:
            async with self.notes.gate.call(_kind(method, path, params)) as call:
                reply = await self._http.request(
                    method, where, headers={**_HEADERS, **headers}, params=(*asked, *more)
                )
                call.size, call.refused = len(reply.body), reply.status >= 400
                return reply

        def sign(key: str, secret: str, clock_ahead: int) -> Params:
            moment = Moment(timestamp=int(time.time()) + clock_ahead, nonce=secrets.token_hex(16))
            return signed(method, self._signed_url(where), asked, key=key, secret=secret, moment=moment)

        reply = await (send_with({}, ()) if anonymous else self._authenticator.send(send_with, sign))
        if 200 <= reply.status < 300:
            return reply
        raise refusal(self.shop, reply, secure=self._secure)

    def _signed_url(self, path: str) -> URL:
        """As the store sees it: it checks signatures with its own address, wherever it was called."""
        home = URL(self.notes.home) if self.notes.home else self._http.base_url
        return home.with_scheme("http").with_query(None).with_path(home.path.rstrip("/") + path)

    def _note(self, parsed: Parsed[T]) -> None:
        if parsed.noise and not self.noise:
            self.noise = True
            _log.warning("%s: something stands before the JSON of its answers, such as notices of PHP", self.shop)


def _not_json(shop: Shop, reply: HttpReply) -> SourceResponseInvalid:
    kind = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if "json" in kind:
        return SourceResponseInvalid(shop, "JSON of another shape than the API's")
    return SourceResponseInvalid(
        shop, f"HTTP {reply.status} with a web page instead of JSON. {PERMALINKS_HINT}", content="page"
    )


def _is_page(reply: HttpReply) -> bool:
    """Whether it is a web page, in which something may well look like JSON. PHP's notices are none."""
    kind = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind != "application/json" and reply.body[:200].lstrip().lower().startswith(_PAGES)


def _kind(method: str, path: str, params: Params) -> str:
    """Calls that take about as long as each other."""
    if dict(params).get("per_page") == _WHOLE_PAGE or path.endswith(_LONG):
        return f"{method} {_NUMBER.sub('#', path)}"
    return "small"


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


_MOST_SHOPS: Final = 10_000
_API: Final = "/wp-json"


class Form(Enum):
    """How the address of the API is written."""

    PRETTY = "pretty"
    """/wp-json/wc/v3/...: what WordPress offers unless it is told otherwise."""
    INDEX = "index"
    """/index.php/wp-json/wc/v3/...: the web server knows no rewriting."""
    QUERY = "query"
    """/?rest_route=/wc/v3/...: "plain" permalinks."""

    def address(self, path: str, params: Sequence[tuple[str, str]]) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Path and parameters for what stands at `path`, written as PRETTY, with `params`."""
        match self:
            case Form.PRETTY:
                return path, tuple(params)
            case Form.INDEX:
                return f"/index.php{path}", tuple(params)
            case Form.QUERY:
                # WooCommerce reads keys only where its address stands somewhere in the request line.
                route = ("rest_route", path.removeprefix(_API)), ("address", "wp-json/wc/")
                return "/", (*route, *params)


@dataclass(slots=True)
class StoreNotes:
    """What is known of one store; shared by everyone in the process who reads it."""

    form: Form = Form.PRETTY
    home: str = ""
    """The store's own idea of its address, which it signs with; empty: it does not tell."""
    gate: Gate = field(default_factory=Gate)


class Stores:
    """The notes on all stores; the one that was used longest ago is forgotten when there are too many."""

    def __init__(
        self,
        most: int = _MOST_SHOPS,
        *,
        most_calls: int = MOST_CALLS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`most_calls`: to one store at a time; `monotonic`, in seconds, tells how quick they are answered."""
        self._notes: OrderedDict[Shop, StoreNotes] = OrderedDict()
        self._most = most
        self._most_calls = most_calls
        self._monotonic = monotonic

    def notes(self, shop: Shop) -> StoreNotes:
        """The one set of notes on `shop`."""
        notes = self._notes.get(shop)
        if notes is None:
            notes = self._notes[shop] = StoreNotes(gate=Gate(self._monotonic, most=self._most_calls))
        self._notes.move_to_end(shop)
        if len(self._notes) > self._most:
            self._notes.popitem(last=False)
        return notes
