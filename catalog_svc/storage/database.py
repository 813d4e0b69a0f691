"""Transactions that survive what PostgreSQL and the network do to them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog_svc.domain.errors import QueryTooExpensive, StorageCause, StorageUnavailable
from catalog_svc.storage.database_errors import DATABASE_ERRORS, cause_of, describe
from catalog_svc.storage.engine import STATEMENT_TIMEOUT, connection_replacer

T = TypeVar("T")
_log = logging.getLogger(__name__)

_NOT_REPEATED = frozenset({StorageCause.TOO_SLOW, StorageCause.POOL_EXHAUSTED})
"""A repetition costs as much again, and comes when the database or the pool has too much to do already."""

_READ_LIMIT = text("SELECT set_config('statement_timeout', :limit, true)")
_ANSWER_SHARE = 0.9
"""Of the caller's remaining time that a query may take, so that the answer arrives before the deadline."""


def no_deadline() -> float | None:
    """Return None: nobody waits for the answer with a deadline."""
    return None


class Database:
    """Runs units of work, each in one transaction of one connection, again when that may help.

    `remaining` returns the seconds that the caller of a read will still wait; None: there is no deadline.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        attempts: int = 4,
        base_delay: float = 0.1,
        remaining: Callable[[], float | None] = no_deadline,
    ) -> None:
        self._engine = engine
        self._replace_connections = connection_replacer(engine)
        self._snapshots = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._attempts = attempts
        self._base_delay = base_delay
        self._remaining = remaining

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Return the result of `work`, committed. `work` must be idempotent: a commit may succeed unheard.

        A cancelled caller waits for the transaction's end: a connection dropped in the middle of one keeps its
        locks. Raises StorageUnavailable, with its cause, when repeating did not help.
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

        A cancelled caller cancels the query on the server. A query that exceeds the session's statement timeout,
        or nine tenths of the caller's remaining time, is not repeated. Raises QueryTooExpensive for it, and
        StorageUnavailable, with its cause, when repeating did not help.
        """

        async def bounded(connection: AsyncConnection) -> T:
            remaining = self._remaining()
            if remaining is not None:
                limit = min(STATEMENT_TIMEOUT.total_seconds(), _ANSWER_SHARE * remaining)
                await connection.execute(_READ_LIMIT, {"limit": f"{max(1, round(limit * 1000))}ms"})
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
                cause = self._judge(error, attempt)
                if attempt >= self._attempts or cause in _NOT_REPEATED:
                    raise StorageUnavailable(cause=cause) from error
            await asyncio.sleep(random.uniform(0.5, 1) * self._base_delay * 4 ** (attempt - 1))
            attempt += 1

    def _judge(self, error: Exception, attempt: int) -> StorageCause:
        """Log the error and return its cause. Raises the error itself when it is not transient."""
        cause = cause_of(error)
        if cause is None:
            _log.error("database refused a statement", extra=describe(error))
            raise error
        _log.warning("database transaction failed", extra={"attempt": attempt, **describe(error)})
        if cause is StorageCause.READ_ONLY:
            # The pooled connections lead to a server that is no primary any more: connect anew.
            self._replace_connections()
        return cause
