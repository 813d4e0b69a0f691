"""Readiness: whether the database answers and accepts writes.

Health says SERVING while the database can be read. A read-only server (a standby, or a primary in the middle of a
failover) is SERVING too: reads are answered, writes get STORAGE_UNAVAILABLE, syncs wait. All replicas share the
database, so that taking them out of rotation would turn a partial outage into a total one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from enum import Enum
from typing import Final

from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.settings import SettingsError
from catalogsync_common.supervisor import Heartbeat, no_heartbeat
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.errors import StorageCause
from catalog_svc.storage.database import DATABASE_ERRORS, cause_of, describe, detail_of
from catalog_svc.storage.engine import DATABASE_URL
from catalog_svc.storage.pooler import UNSUPPORTED_PARAMETER, PoolerFound

_log = logging.getLogger(__name__)

_PING_TIMEOUT_SECONDS: Final = 5.0
_PING_INTERVAL: Final = timedelta(seconds=5)
_FAILED_PING_INTERVAL_FACTOR: Final = 0.4
"""After a failed ping the next one comes after this share of the interval."""
_FAILURES_TO_UNREADY: Final = 3
"""Failed pings in a row that make unready; one success makes ready again. A single slow answer must not move all
load to the other replicas."""

_IS_READ_ONLY = text("SELECT pg_is_in_recovery() OR CAST(current_setting('transaction_read_only') AS boolean)")

_CAUSE_TEXTS: Final = {
    StorageCause.REFUSED: "the server refuses the connection",
    StorageCause.UNREACHABLE: "cannot connect",
}


class DatabaseUnavailable(SettingsError):
    """The database was not ready when the service started."""

    def __init__(self, max_wait: timedelta, problem: str, *, setting: str = DATABASE_URL) -> None:
        waited = f"{max_wait.total_seconds():.0f} s"
        super().__init__((f"{setting}: the database was not ready within {waited}: {problem}",))


class _State(Enum):
    """Result of a ping; the values are the log messages."""

    READY = "database ready"
    READ_ONLY = "database is read-only: syncs wait, calls that write fail"
    UNAVAILABLE = "database unavailable"


async def wait_until_ready(
    engine: AsyncEngine,
    max_wait: timedelta,
    prepare: Callable[[], Awaitable[None]] | None = None,
    *,
    setting: str = DATABASE_URL,
) -> None:
    """Return once the database answers and `prepare` has succeeded; retry every second until then.

    The database may start after this process, or fail in between.

    Args:
        engine: Connections to the database.
        max_wait: When to give up.
        prepare: Called once the database answers; repeated when the database fails in it.
        setting: Name of the setting that holds the URL, for error messages.

    Raises:
        DatabaseUnavailable: It was not ready within `max_wait`; the message names the cause.
        PoolerFound: A pooler refuses the engine's start-up parameters.
        SettingsError: Raised by `prepare`.
    """
    problem = "no answer"
    try:
        async with asyncio.timeout(max_wait.total_seconds()):
            while True:
                try:
                    await _is_read_only(engine)
                    if prepare is not None:
                        await prepare()
                    return
                except DATABASE_ERRORS as error:
                    cause = cause_of(error)
                    if cause is None:
                        raise
                    if UNSUPPORTED_PARAMETER in detail_of(error):
                        raise PoolerFound from error
                    problem = f"{_CAUSE_TEXTS.get(cause, cause.value)}: {detail_of(error)}"
                    _log.warning("the database is not ready yet", extra=describe(error))
                await asyncio.sleep(1)
    except TimeoutError:
        raise DatabaseUnavailable(max_wait, problem, setting=setting) from None


async def watch_readiness(
    engine: AsyncEngine,
    set_serving: Callable[[bool], Awaitable[None]],
    drain: Drain,
    heartbeat: Heartbeat = no_heartbeat,
    *,
    on_read_only: Callable[[], None] = lambda: None,
    interval: timedelta = _PING_INTERVAL,
) -> None:
    """Ping the database and report changes, until the drain.

    An unavailable connector does not count: one bad connector must not take every catalog out of rotation.

    Args:
        engine: Connections for pings alone: a pool that others have exhausted says nothing about the database.
        set_serving: Called with whether the database is ready, when that may have changed.
        on_read_only: Called after each ping of a read-only server, so that reads find the new primary too.
        interval: Time between pings; less after a failed one.
    """
    readiness = Readiness()
    reported: _State | None = None
    while True:
        found, details = await _ping(engine)
        failed = found is _State.UNAVAILABLE
        ready = readiness.observe(not failed)
        if failed:
            _log.warning("database ping failed", extra=details)
        elif found is _State.READ_ONLY:
            on_read_only()
        state = reported if failed and ready and reported is not None else found
        if state is not reported:
            _log.log(logging.INFO if state is _State.READY else logging.ERROR, state.value, extra=details)
            await set_serving(ready)
            reported = state
        heartbeat()
        pause = interval.total_seconds() * (_FAILED_PING_INTERVAL_FACTOR if failed else 1)
        try:
            await drain.race(asyncio.sleep(pause))
        except ServerDraining:
            return


class Readiness:
    """Readiness with hysteresis: several failures in a row make unready, one success makes ready."""

    def __init__(self, *, failures_to_unready: int = _FAILURES_TO_UNREADY) -> None:
        self._failures_to_unready = failures_to_unready
        self._failures = failures_to_unready

    @property
    def is_ready(self) -> bool:
        """Whether the last observations leave it ready; False before the first one."""
        return self._failures < self._failures_to_unready

    def observe(self, success: bool) -> bool:
        """Count one observation and return whether it is ready now."""
        self._failures = 0 if success else self._failures + 1
        return self.is_ready


async def _ping(engine: AsyncEngine) -> tuple[_State, dict[str, object]]:
    """Return the state of the server, and log fields about what went wrong."""
    try:
        read_only = await _is_read_only(engine)
    except DATABASE_ERRORS as error:
        return _State.UNAVAILABLE, describe(error)
    return (_State.READ_ONLY if read_only else _State.READY), {}


async def _is_read_only(engine: AsyncEngine) -> bool:
    async with asyncio.timeout(_PING_TIMEOUT_SECONDS), engine.connect() as connection:
        read_only = bool((await connection.execute(_IS_READ_ONLY)).scalar_one())
        if read_only:
            # The next ping reconnects, and finds the primary if there is a new one.
            await connection.invalidate()
    return read_only
