"""Polling of the database by a background loop, until the drain."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.supervisor import Heartbeat

from catalog_svc.domain.errors import StorageUnavailable

_log: Final = logging.getLogger(__name__)


class PollTimer:
    """When a hub polls: at a fixed interval, and soon after a change by this replica was announced."""

    def __init__(self, *, poll_interval: timedelta, announced_interval: timedelta) -> None:
        """Create a timer whose first poll is due now.

        Args:
            poll_interval: Between two polls.
            announced_interval: Between two polls because of announcements.
        """
        self._poll_seconds = poll_interval.total_seconds()
        self._announced_seconds = announced_interval.total_seconds()
        self._polled_at = float("-inf")
        self._announced = asyncio.Event()

    def announce(self) -> None:
        """Say that this replica has changed something."""
        self._announced.set()

    async def pause(self) -> None:
        """Wait until a poll is due, or something was announced."""
        await asyncio.sleep(self._announced_seconds)
        due_in = self._polled_at + self._poll_seconds - asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due_in)):
                await self._announced.wait()

    def begin(self) -> bool:
        """Begin a poll, and return whether it was due; False: it is one because of an announcement."""
        now = asyncio.get_running_loop().time()
        is_due = now - self._polled_at >= self._poll_seconds
        self._announced.clear()
        if is_due:
            self._polled_at = now
        return is_due


async def poll_until_drain(
    poll: Callable[[], Awaitable[None]],
    *,
    pause: Callable[[], Coroutine[Any, Any, object]],
    drain: Drain,
    heartbeat: Heartbeat,
    name: str,
) -> None:
    """Poll after each pause until the drain. An unavailable database ends nothing: the next poll may succeed.

    The first of several failed polls is logged, and the first one that succeeds again.

    Args:
        poll: Reads the database.
        pause: Waits for the next poll.
        drain: Ends the polling.
        heartbeat: Called after each poll, also a failed one.
        name: What polls, for the log.
    """
    is_reading = True
    while True:
        try:
            await drain.race(pause())
            await poll()
        except ServerDraining:
            return
        except StorageUnavailable:
            if is_reading:
                _log.warning(
                    "%s: the database cannot be read; watchers get STORAGE_UNAVAILABLE if that lasts", name
                )
            is_reading = False
        else:
            if not is_reading:
                _log.info("%s: the database can be read again", name)
            is_reading = True
        heartbeat()
