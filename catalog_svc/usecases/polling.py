"""Polling of the database by a background loop, until the drain."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.supervisor import Heartbeat

from catalog_svc.domain.errors import StorageUnavailable

_log: Final = logging.getLogger(__name__)


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
