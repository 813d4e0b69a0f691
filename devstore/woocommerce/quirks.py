"""What the hosts and plugins of some WooCommerce stores do to them.

A cheap host: a few PHP workers, which get slower the more is asked of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from typing import Final

from aiohttp import web


class WooQuirk(Enum):
    """One switch; a shop may have several, and a test may turn them while it is read."""

    STRIPPED_AUTHORIZATION = "stripped-authorization"
    """The host takes the Authorization header off, so that only keys in the query arrive."""
    PLAIN_PERMALINKS = "plain-permalinks"
    """The API is at /?rest_route= alone; /wp-json/ is the home page, what is below it a redirect."""
    NO_REWRITING = "no-rewriting"
    """The API is at /index.php/wp-json/ alone; the web server knows no /wp-json/."""
    NO_BULK_VARIATIONS = "no-bulk-variations"
    """Neither /wc/v3/variations nor wc-analytics/variations is there."""
    STALE_VARIATIONS = "stale-variations"
    """Lists over all products hold variations whose product is simple now, and one whose product is gone."""
    STALE_CHILDREN = "stale-children"
    """A product goes on naming variations that were removed by SQL or the command line, until it is written to."""
    NOTICES = "notices"
    """PHP prints a warning before each JSON, which makes it text/html."""
    BYTE_ORDER_MARK = "byte-order-mark"
    """A plugin's file begins with one, and so does each answer."""
    WEB_PAGE = "web-page"
    """A firewall answers everything with a page and status 200."""
    OTHER_HOME = "other-home"
    """The store's own address is another than the one it is called at; signatures are checked with it."""


_CROWD: Final = 0.1
"""By how much each request beyond the workers slows down all: measured on a real store, 8 calls at a time bring a
quarter less than 4."""
_MOST_PER_WORKER: Final = 3
_TOO_BUSY: Final = "<!doctype html><html><head><title>503 Service Unavailable</title></head></html>\n"


class SharedHost:
    """Shares its workers among all requests; beyond three for each it answers 503."""

    def __init__(self, *, workers: int, seconds: float) -> None:
        self._workers = workers
        self._seconds = seconds
        self._busy = 0
        self.most_busy = 0
        """The largest number of requests that were there at once."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[web.Response | None]:
        """Takes the time that one request takes now; yields a refusal when there are too many."""
        if not self._workers:
            yield None
            return
        self._busy += 1
        self.most_busy = max(self.most_busy, self._busy)
        try:
            beyond = self._busy - self._workers
            if self._busy > self._workers * _MOST_PER_WORKER:
                yield web.Response(status=503, text=_TOO_BUSY, content_type="text/html", charset="UTF-8")
                return
            share = max(self._busy / self._workers, 1.0)
            await asyncio.sleep(self._seconds * share * (1 + _CROWD * max(beyond, 0)))
            yield None
        finally:
            self._busy -= 1
