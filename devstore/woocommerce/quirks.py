"""Quirks of WooCommerce hosts and plugins, and a shared host with few PHP workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from typing import Final

from aiohttp import web


class WooQuirk(Enum):
    """One quirk; a shop may have several, and a test may change them while it is read."""

    STRIPPED_AUTHORIZATION = "stripped-authorization"
    """The host removes the Authorization header, so that only keys in the query arrive."""
    PLAIN_PERMALINKS = "plain-permalinks"
    """The API is only at /?rest_route=; /wp-json/ is the home page, and paths below it are redirected."""
    NO_REWRITING = "no-rewriting"
    """The API is only at /index.php/wp-json/; the web server answers 404 for /wp-json/."""
    NO_BULK_VARIATIONS = "no-bulk-variations"
    """Neither /wc/v3/variations nor wc-analytics/variations exists."""
    STALE_VARIATIONS = "stale-variations"
    """Lists of all variations include those of products that are now simple, and one whose product was deleted."""
    STALE_CHILDREN = "stale-children"
    """A product still names variations that were removed by SQL or the command line, until it is saved."""
    NOTICES = "notices"
    """PHP prints a warning before each JSON, which makes it text/html."""
    BYTE_ORDER_MARK = "byte-order-mark"
    """A plugin's file starts with a byte order mark, and so does each reply."""
    WEB_PAGE = "web-page"
    """A firewall answers every request with a web page and status 200."""
    OTHER_HOME = "other-home"
    """The store's own address differs from the requested one; signatures are checked against it."""


_SLOWDOWN_PER_EXTRA_REQUEST: Final = 0.1
"""By how much each request beyond the workers slows down all; measured on a real store, where 8 calls at a time
have a quarter less throughput than 4."""
_MAX_REQUESTS_PER_WORKER: Final = 3
_SERVICE_UNAVAILABLE_PAGE: Final = (
    "<!doctype html><html><head><title>503 Service Unavailable</title></head></html>\n"
)


class SharedHost:
    """A few PHP workers that get slower with more concurrent requests; beyond three per worker they answer 503."""

    def __init__(self, *, workers: int, seconds: float) -> None:
        self._workers = workers
        self._seconds = seconds
        self._busy = 0
        self.peak_requests = 0
        """The highest number of concurrent requests so far."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[web.Response | None]:
        """Wait as long as a request takes under the current load; yield a 503 if there are too many, else None."""
        if not self._workers:
            yield None
            return
        self._busy += 1
        self.peak_requests = max(self.peak_requests, self._busy)
        try:
            extra = self._busy - self._workers
            if self._busy > self._workers * _MAX_REQUESTS_PER_WORKER:
                yield web.Response(
                    status=503, text=_SERVICE_UNAVAILABLE_PAGE, content_type="text/html", charset="UTF-8"
                )
                return
            load = max(self._busy / self._workers, 1.0)
            await asyncio.sleep(self._seconds * load * (1 + _SLOWDOWN_PER_EXTRA_REQUEST * max(extra, 0)))
            yield None
        finally:
            self._busy -= 1
