"""Whether the database answers: what health is about."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from servicekit.drain import Drain, ServerDraining
from servicekit.settings import SettingsError
from servicekit.supervisor import Heartbeat, no_heartbeat

_log = logging.getLogger(__name__)
_EVERY = 5.0


class DatabaseAway(SettingsError):
    """The database did not answer when the service started."""

    def __init__(self, patience: timedelta) -> None:
        super().__init__(
            (
                f"CATALOG_DATABASE_URL: the database did not answer for {patience.total_seconds():.0f} s; "
                "check that it runs, and host, user and password",
            )
        )


async def wait_until_ready(
    engine: AsyncEngine, patience: timedelta, prepare: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Returns once the database answers and `prepare` is done; it may start after us, or fall in between.

    Raises DatabaseAway, and what `prepare` finds wrong.
    """
    try:
        async with asyncio.timeout(patience.total_seconds()):
            while not (await _answers(engine) and await _prepared(prepare)):
                _log.warning("the database does not answer yet")
                await asyncio.sleep(1)
    except TimeoutError:
        raise DatabaseAway(patience) from None


async def _prepared(prepare: Callable[[], Awaitable[None]] | None) -> bool:
    try:
        if prepare is not None:
            await prepare()
    except (DBAPIError, OSError):
        return False
    return True


async def watch_readiness(
    engine: AsyncEngine,
    set_serving: Callable[[bool], Awaitable[None]],
    drain: Drain,
    heartbeat: Heartbeat = no_heartbeat,
) -> None:
    """Tells `set_serving` what a ping every few seconds finds, until the drain.

    A connector that is away does not count: one bad connector must not take every catalog out of rotation.
    """
    was_ready: bool | None = None
    while True:
        ready = await _answers(engine)
        if ready is not was_ready:
            _log.log(logging.INFO if ready else logging.ERROR, "database %s", "ready" if ready else "away")
            await set_serving(ready)
            was_ready = ready
        heartbeat()
        try:
            await drain.race(asyncio.sleep(_EVERY))
        except ServerDraining:
            return


async def _answers(engine: AsyncEngine) -> bool:
    try:
        async with asyncio.timeout(_EVERY), engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except (SQLAlchemyError, OSError, TimeoutError):
        return False
    return True
