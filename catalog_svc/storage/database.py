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

Each transaction names the shops that it may see (see `catalog_svc.storage.tenant`), in the same round trip as its
BEGIN.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeVar
from uuid import UUID

import asyncpg
from catalogsync_common.tracing import Kind, child_span
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog_svc.domain.errors import QueryTooExpensive, StorageCause, StorageUnavailable
from catalog_svc.storage.engine import STATEMENT_TIMEOUT, connection_replacer
from catalog_svc.storage.tenant import driver_of, set_shops

T = TypeVar("T")
_log = logging.getLogger(__name__)

DATABASE_ERRORS: Final = (
    DBAPIError,
    PoolTimeout,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
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

_BEGIN_WRITE: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
# The fence, the claims and the counts rely on this level, whatever the default of the role or the database.
_BEGIN_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_QUERY_SHARE: Final = 0.9
"""Share of the caller's remaining time that a query may take, so that the answer arrives before the deadline."""


def no_deadline() -> float | None:
    """Return None: the caller of a read has no deadline."""
    return None


def discard_wait(seconds: float) -> None:
    """Ignore how long a transaction has waited for a connection."""


def any_shop() -> UUID | None:
    """Return None: transactions may see whatever shops they ask for."""
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
        allowed_shop: Callable[[], UUID | None] = any_shop,
        observe_wait: Callable[[float], None] = discard_wait,
    ) -> None:
        """Create a database over an engine.

        Args:
            engine: Connections; the caller disposes of them.
            attempts: Maximum number of attempts of a unit of work.
            base_delay: Seconds until the second attempt; each further delay is four times as long.
            remaining: Returns the seconds that the caller of a read will still wait; None: there is no deadline.
            allowed_shop: Returns the only shop that the present caller may see; None: there is no such limit.
            observe_wait: Called with the seconds that each transaction has waited for a connection.
        """
        # SQLAlchemy begins no transaction of its own.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._name = engine.url.database or ""
        self._replace_connections = connection_replacer(engine)
        self._attempts = attempts
        self._base_delay = base_delay
        self._remaining = remaining
        self._allowed_shop = allowed_shop
        self._observe_wait = observe_wait

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]], *, shops: Collection[UUID] = ()) -> T:
        """Return the result of `work`, committed.

        `work` must be idempotent: a commit may succeed though its answer got lost. A cancelled caller waits for
        the transaction's end: a connection dropped in the middle of one keeps its locks.

        Args:
            work: What is done in the transaction.
            shops: The shops whose rows it sees; `enter_shops` changes them.

        Raises:
            StorageUnavailable: Retries did not help; with the cause.
        """
        task = asyncio.ensure_future(self._with_retries(lambda: _BEGIN_WRITE, work, shops))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                await asyncio.wait({task})
            if not task.cancelled():
                task.exception()
            raise

    async def read(self, work: Callable[[AsyncConnection], Awaitable[T]], *, shops: Collection[UUID] = ()) -> T:
        """Return the result of `work`, all of whose queries see one snapshot of the database.

        A cancelled caller cancels the query on the server.

        Args:
            work: What is read.
            shops: The shops whose rows it sees; `enter_shops` changes them.

        Raises:
            QueryTooExpensive: A query exceeded the session's statement timeout, or nine tenths of the caller's
                remaining time; it is not retried.
            StorageUnavailable: Retries did not help; with the cause.
        """

        try:
            return await self._with_retries(self._begin_read, work, shops)
        except StorageUnavailable as failure:
            if failure.cause is StorageCause.TOO_SLOW:
                raise QueryTooExpensive from failure
            raise

    def _begin_read(self) -> str:
        remaining = self._remaining()
        if remaining is None:
            return _BEGIN_READ
        limit = min(STATEMENT_TIMEOUT.total_seconds(), _QUERY_SHARE * remaining)
        return f"{_BEGIN_READ}; SET LOCAL statement_timeout = {max(1, round(limit * 1000))}"

    async def _with_retries(
        self, begin: Callable[[], str], work: Callable[[AsyncConnection], Awaitable[T]], shops: Collection[UUID]
    ) -> T:
        attempt = 1
        while True:
            try:
                with self._span(work, attempt):
                    async with self._transaction(begin, shops) as connection:
                        return await work(connection)
            except DATABASE_ERRORS as error:
                cause = self._transient_cause(error, attempt)
                if attempt >= self._attempts or cause in _NOT_RETRIED:
                    raise StorageUnavailable(cause=cause) from error
            await asyncio.sleep(random.uniform(0.5, 1) * self._base_delay * 4 ** (attempt - 1))
            attempt += 1

    @contextmanager
    def _span(self, work: Callable[..., object], attempt: int) -> Iterator[None]:
        """Make a span for a transaction, if the caller is traced; an error of the database is its failure."""
        operation = getattr(work, "__qualname__", type(work).__name__).partition(".<locals>")[0]
        attributes = {
            "db.system.name": "postgresql",
            "db.namespace": self._name,
            "db.operation.name": operation,
            "catalogsync.attempt": attempt,
        }
        with child_span(f"{operation} {self._name}", Kind.CLIENT, attributes, failures=DATABASE_ERRORS) as span:
            try:
                yield
            except DATABASE_ERRORS as error:
                if state := sqlstate_of(error):
                    span.set_attribute("db.response.status_code", state)
                raise

    @asynccontextmanager
    async def _transaction(
        self, begin: Callable[[], str], shops: Collection[UUID]
    ) -> AsyncIterator[AsyncConnection]:
        """Run a transaction. Its beginning is one round trip, with its settings and the shops that it may see."""
        async with self._connect() as connection, connection.begin():
            driver = await driver_of(connection)
            try:
                await driver.execute(f"{begin()}; {set_shops(connection, shops, allowed=self._allowed_shop())}")
                yield connection
                await driver.execute("COMMIT")
            except BaseException:
                await _roll_back(connection, driver)
                raise

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[AsyncConnection]:
        began = time.monotonic()
        try:
            async with self._engine.connect() as connection:
                self._observe_wait(time.monotonic() - began)
                yield connection
        except PoolTimeout:
            self._observe_wait(time.monotonic() - began)
            raise

    def _transient_cause(self, error: Exception, attempt: int) -> StorageCause:
        """Log the error and return its cause. Raise the error itself when it is not transient."""
        cause = cause_of(error)
        if cause is None:
            _log.error("database refused a statement", extra=describe(error))
            raise error
        _log.warning("database transaction failed", extra={"attempt": attempt, **describe(error)})
        broken = cause is StorageCause.UNREACHABLE and not isinstance(error, DBAPIError)
        if cause is StorageCause.READ_ONLY or broken:
            # The pooled connections lead to a server that is gone, or no longer the primary: reconnect. Of errors
            # of SQLAlchemy's own statements the pool knows.
            self._replace_connections()
        return cause


async def _roll_back(connection: AsyncConnection, driver: asyncpg.Connection) -> None:
    """Roll back; a connection on which that fails, or is cancelled, is closed."""
    try:
        await driver.execute("ROLLBACK")
    except DATABASE_ERRORS:
        await connection.invalidate()
    except BaseException:
        await connection.invalidate()
        raise


def cause_of(error: BaseException) -> StorageCause | None:
    """Return the cause of one of the `DATABASE_ERRORS`; None when the error is not transient."""
    if isinstance(error, PoolTimeout):
        return StorageCause.POOL_EXHAUSTED
    driver = _driver_error(error)
    if isinstance(driver, asyncpg.ClientConfigurationError):
        return StorageCause.REFUSED
    if isinstance(driver, asyncpg.TargetServerAttributeNotMatched):
        return StorageCause.READ_ONLY
    if isinstance(driver, asyncpg.InternalClientError):
        # The connection broke in the middle of a command.
        return StorageCause.UNREACHABLE
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
