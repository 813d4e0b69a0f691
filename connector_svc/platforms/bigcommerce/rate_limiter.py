"""Rate limiter of one store, driven by BigCommerce's rate-limit headers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

from connector_svc.domain.fetch import Wait, WaitReason, WaitReporter

_RESERVED_REQUESTS: Final = 2
"""Requests of a window that are never used: other apps of the store share the same quota."""
_MAX_WAIT: Final = timedelta(minutes=5)
"""For one window; BigCommerce has no window that resets later."""


class RateLimiter:
    """Rate limiter of one store, shared by all streams of the process that read the store.

    Once the requests of the current window are used up, requests wait for the next window. The quota is known from
    the replies alone (150 requests per 30 s on Standard, 450 on Pro), since a store's plan may change.
    """

    def __init__(
        self,
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._remaining: int | None = None
        self._resets_at = 0.0
        self._in_flight = 0

    @asynccontextmanager
    async def request(self, on_wait: WaitReporter) -> AsyncIterator[None]:
        """Enter the context when one more request may be sent; report each wait before that to `on_wait`."""
        while self._remaining is not None and self._remaining <= _RESERVED_REQUESTS:
            seconds = self._resets_at - asyncio.get_running_loop().time()
            if seconds <= 0:
                self._remaining = None
                break
            self._report_wait(seconds, on_wait)
            await self._sleep(seconds)
        if self._remaining is not None:
            self._remaining -= 1
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    def update(self, headers: Mapping[str, str]) -> None:
        """Take over the quota and the reset time from the headers of a reply.

        Replies may overtake each other: within one window the lowest remaining count wins. The reply may not count
        the other requests in flight yet, so they are subtracted.
        """
        remaining = _parse_count(headers, "X-Rate-Limit-Requests-Left")
        reset_ms = _parse_count(headers, "X-Rate-Limit-Time-Reset-Ms")
        if remaining is None or reset_ms is None:
            return
        remaining -= max(self._in_flight - 1, 0)
        now = asyncio.get_running_loop().time()
        resets_at = now + min(reset_ms / 1000, _MAX_WAIT.total_seconds())
        same_window = self._remaining is not None and now < self._resets_at
        self._remaining = (
            min(remaining, self._remaining) if same_window and self._remaining is not None else remaining
        )
        self._resets_at = resets_at

    def _report_wait(self, seconds: float, on_wait: WaitReporter) -> None:
        until = self._clock() + timedelta(seconds=seconds)
        message = f"BigCommerce's rate limit, {seconds:.1f} s"
        on_wait(Wait(reason=WaitReason.THROTTLED, until=until, message=message))


def _parse_count(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None
