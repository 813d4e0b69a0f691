"""Asks a store no more often than its plan allows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

from connector_svc.domain.fetch import Wait, WaitReason, WaitReporter

_SPARE: Final = 2
"""Requests left alone: other apps of the store count against the same window."""
_LONGEST: Final = timedelta(minutes=5)
"""Of a wait for a window; a reset further away is not one of BigCommerce's."""


class Pace:
    """The rate limiter of one store, shared by all streams of the process that read it.

    Waits for the next window once the requests of this one are used up.

    Knows the quota from the replies alone (150 per 30 s on Standard, 450 on Pro): a plan may change.
    """

    def __init__(
        self,
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._left: int | None = None
        self._resets_at = 0.0
        self._under_way = 0

    @asynccontextmanager
    async def request(self, on_wait: WaitReporter) -> AsyncIterator[None]:
        """Enters when one more request may be sent; each wait before that is reported to `on_wait`."""
        while self._left is not None and self._left <= _SPARE:
            seconds = self._resets_at - asyncio.get_running_loop().time()
            if seconds <= 0:
                self._left = None
                break
            self._report(seconds, on_wait)
            await self._sleep(seconds)
        if self._left is not None:
            self._left -= 1
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def learned(self, headers: Mapping[str, str]) -> None:
        """Takes a reply's word. Of replies that overtook each other the lower count wins within one window.

        Requests under way, apart from the one that was answered, may not be counted in it yet.
        """
        left = _number(headers, "X-Rate-Limit-Requests-Left")
        reset = _number(headers, "X-Rate-Limit-Time-Reset-Ms")
        if left is None or reset is None:
            return
        left -= max(self._under_way - 1, 0)
        now = asyncio.get_running_loop().time()
        resets_at = now + min(reset / 1000, _LONGEST.total_seconds())
        same_window = self._left is not None and now < self._resets_at
        self._left = min(left, self._left) if same_window and self._left is not None else left
        self._resets_at = resets_at

    def _report(self, seconds: float, on_wait: WaitReporter) -> None:
        until = self._clock() + timedelta(seconds=seconds)
        message = f"BigCommerce's rate limit, {seconds:.1f} s"
        on_wait(Wait(reason=WaitReason.THROTTLED, until=until, message=message))


def _number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None
