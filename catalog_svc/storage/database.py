"""Transactions with retries, and what errors of PostgreSQL, its driver and the network mean.

| Cause | SQLSTATE | Example |
|---|---|---|
| UNREACHABLE | 08*, 57P*, 25P03 | connection lost, server restarting, idle transaction ended |
| REFUSED | 28*, 3D000 | wrong password, no such database |
| READ_ONLY | 25006 | standby, failover |
| NO_RESOURCES | 53*, 58* | disk full, out of memory, too many connections, I/O error |
| LOCKED | 55P03 | lock timeout |
| CONFLICT | 40* | deadlock, serialization failure |
| TOO_SLOW | 57014, 25P04 | statement timeout, transaction timeout |

Everything else (22* and 23* bad data, 42* wrong statement or missing permission, XX* internal) is not transient:
the same statement fails again until somebody repairs the cause. See
https://www.postgresql.org/docs/current/errcodes-appendix.html.

A transient error is retried with backoff, then raised as StorageUnavailable with its cause; the SQLSTATE is in the
log.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog_svc.domain.errors import QueryTooExpensive, StorageCause, StorageUnavailable
from catalog_svc.storage.engine import STATEMENT_TIMEOUT, connection_replacer

T = TypeVar("T")
_log = logging.getLogger(__name__)

DATABASE_ERRORS: Final = (
    DBAPIError,
    PoolTimeout,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.TargetServerAttributeNotMatched,
    OSError,
    TimeoutError,
)
"""What a transaction may raise because of the database. asyncpg's own errors come from COPY and from connecting,
which SQLAlchemy does not wrap."""

_CAUSES: Final = {
    "3D000": StorageCause.REFUSED,
    "25006": StorageCause.READ_ONLY,
    "25P03": StorageCause.UNREACHABLE,
    "25P04": StorageCause.TOO_SLOW,
    "55P03": StorageCause.LOCKED,
    "57014": StorageCause.TOO_SLOW,
}
_CAUSES_BY_CLASS: Final = {
    "08": StorageCause.UNREACHABLE,
    "28": StorageCause.REFUSED,
    "40": StorageCause.CONFLICT,
    "53": StorageCause.NO_RESOURCES,
    "57": StorageCause.UNREACHABLE,
    "58": StorageCause.NO_RESOURCES,
}
_PERMANENT_KINDS: Final = {"22": "bad data", "23": "bad data", "42": "statement or permission"}
_MAX_DETAIL_CHARACTERS: Final = 300


_NOT_RETRIED: Final = frozenset({StorageCause.TOO_SLOW, StorageCause.POOL_EXHAUSTED})
"""A retry costs as much again, and comes when the database or the pool has too much to do already."""

_SET_READ_TIMEOUT = text("SELECT set_config('statement_timeout', :limit, true)")
_QUERY_SHARE: Final = 0.9
"""Share of the caller's remaining time that a query may take, so that the answer arrives before the deadline."""


def no_deadline() -> float | None:
    """Return None: the caller of a read has no deadline."""
    return None


class Database:
    """Runs units of work, each in one transaction of one connection, with retries of transient errors."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        attempts: int = 4,
        base_delay: float = 0.1,
        remaining: Callable[[], float | None] = no_deadline,
    ) -> None:
        """Create a database over an engine.

        Args:
            engine: Connections; the caller disposes of them.
            attempts: Maximum number of attempts of a unit of work.
            base_delay: Seconds until the second attempt; each further delay is four times as long.
            remaining: Returns the seconds that the caller of a read will still wait; None: there is no deadline.
        """
        self._engine = engine
        self._replace_connections = connection_replacer(engine)
        self._snapshots = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._attempts = attempts
        self._base_delay = base_delay
        self._remaining = remaining

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Return the result of `work`, committed.

        `work` must be idempotent: a commit may succeed though its answer got lost. A cancelled caller waits for
        the transaction's end: a connection dropped in the middle of one keeps its locks.

        Raises:
            StorageUnavailable: Retries did not help; with the cause.
        """
        task = asyncio.ensure_future(self._with_retries(self._engine, work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                await asyncio.wait({task})
            if not task.cancelled():
                task.exception()
            raise

    async def read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Return the result of `work`, all of whose queries see one snapshot of the database.

        A cancelled caller cancels the query on the server.

        Raises:
            QueryTooExpensive: A query exceeded the session's statement timeout, or nine tenths of the caller's
                remaining time; it is not retried.
            StorageUnavailable: Retries did not help; with the cause.
        """

        async def bounded(connection: AsyncConnection) -> T:
            remaining = self._remaining()
            if remaining is not None:
                limit = min(STATEMENT_TIMEOUT.total_seconds(), _QUERY_SHARE * remaining)
                await connection.execute(_SET_READ_TIMEOUT, {"limit": f"{max(1, round(limit * 1000))}ms"})
            return await work(connection)

        try:
            return await self._with_retries(self._snapshots, bounded)
        except StorageUnavailable as failure:
            if failure.cause is StorageCause.TOO_SLOW:
                raise QueryTooExpensive from failure
            raise

    async def _with_retries(self, engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        attempt = 1
        while True:
            try:
                async with engine.begin() as connection:
                    return await work(connection)
            except DATABASE_ERRORS as error:
                cause = self._transient_cause(error, attempt)
                if attempt >= self._attempts or cause in _NOT_RETRIED:
                    raise StorageUnavailable(cause=cause) from error
            await asyncio.sleep(random.uniform(0.5, 1) * self._base_delay * 4 ** (attempt - 1))
            attempt += 1

    def _transient_cause(self, error: Exception, attempt: int) -> StorageCause:
        """Log the error and return its cause. Raise the error itself when it is not transient."""
        cause = cause_of(error)
        if cause is None:
            _log.error("database refused a statement", extra=describe(error))
            raise error
        _log.warning("database transaction failed", extra={"attempt": attempt, **describe(error)})
        if cause is StorageCause.READ_ONLY:
            # The pooled connections lead to a server that is no longer the primary: reconnect.
            self._replace_connections()
        return cause


def cause_of(error: BaseException) -> StorageCause | None:
    """Return the cause of one of the `DATABASE_ERRORS`; None when the error is not transient."""
    if isinstance(error, PoolTimeout):
        return StorageCause.POOL_EXHAUSTED
    driver = _driver_error(error)
    if isinstance(driver, asyncpg.ClientConfigurationError):
        return StorageCause.REFUSED
    if isinstance(driver, asyncpg.TargetServerAttributeNotMatched):
        return StorageCause.READ_ONLY
    state = sqlstate_of(error)
    cause = _CAUSES.get(state) or _CAUSES_BY_CLASS.get(state[:2])
    if cause is not None:
        return cause
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return StorageCause.UNREACHABLE
    # The server did not answer: the connection broke, or our own command timeout was reached.
    if isinstance(driver, (OSError, TimeoutError)):
        return StorageCause.UNREACHABLE
    is_interface_error = isinstance(error, InterfaceError) or isinstance(driver, asyncpg.InterfaceError)
    # An interface error that is a ValueError too is about a value that PostgreSQL's type cannot hold.
    return (
        StorageCause.UNREACHABLE
        if is_interface_error and not state and not isinstance(driver, ValueError)
        else None
    )


def sqlstate_of(error: BaseException) -> str:
    """Return the server's SQLSTATE; empty when the server did not answer."""
    for one in (_driver_error(error), getattr(error, "orig", None)):
        state = getattr(one, "sqlstate", None) or getattr(one, "pgcode", None)
        if state:
            return str(state)
    return ""


def describe(error: BaseException) -> dict[str, object]:
    """Return the log fields of an error: kind, SQLSTATE, class, and the first line of the driver's message.

    Neither the statement nor its parameters are among them: they may hold a merchant's data.
    """
    cause, state = cause_of(error), sqlstate_of(error)
    kind = cause.value if cause else _PERMANENT_KINDS.get(state[:2], "unexpected")
    return {
        "kind": kind,
        "sqlstate": state,
        "error": type(_driver_error(error)).__name__,
        "detail": detail_of(error),
    }


def detail_of(error: BaseException) -> str:
    """Return the first line of the driver's message, for operators; the driver puts no password in it."""
    driver = _driver_error(error)
    lines = str(driver).strip().splitlines()
    return lines[0][:_MAX_DETAIL_CHARACTERS] if lines else type(driver).__name__


def _driver_error(error: BaseException) -> BaseException:
    """The driver's error, which SQLAlchemy and its adapter for asyncpg have wrapped."""
    original = getattr(error, "orig", None)
    if not isinstance(original, BaseException):
        return error
    return original.__cause__ or original
