"""Where a store's REST API is, and what the process remembers of each store."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from connector_svc.domain.shop import Shop
from connector_svc.platforms.woocommerce.concurrency_limiter import MOST_CALLS, Gate

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
