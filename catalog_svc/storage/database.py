"""Transactions that survive what PostgreSQL and the network do to them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog_svc.domain.errors import StorageUnavailable

T = TypeVar("T")
_log = logging.getLogger(__name__)

_RETRIED_STATES = frozenset({"40001", "40P01", "53300", "55P03", "57014", "57P01", "57P02", "57P03", "25P03"})
"""Serialization failure, deadlock, too many connections, lock and statement time-outs, server going down or
coming up, idle-in-transaction time-out."""


class Database:
    """Runs units of work, each in one transaction of one connection, again when that may help."""

    def __init__(self, engine: AsyncEngine, *, attempts: int = 4, base_delay: float = 0.1) -> None:
        self._engine = engine
        self._attempts = attempts
        self._base_delay = base_delay

    async def transaction(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """The result of `work`, committed. `work` must be idempotent: a commit may succeed unheard.

        A cancelled caller waits for the transaction's end: a connection dropped in the middle of one keeps its
        locks. Raises StorageUnavailable when the database stays away.
        """
        task = asyncio.ensure_future(self._with_retries(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                await asyncio.wait({task})
            if not task.cancelled():
                task.exception()
            raise

    async def _with_retries(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        for attempt in range(1, self._attempts + 1):
            try:
                async with self._engine.begin() as connection:
                    return await work(connection)
            except (DBAPIError, PoolTimeout, OSError, TimeoutError) as error:
                if not _may_pass(error):
                    raise
                _log.warning(
                    "database transaction failed",
                    extra={"attempt": attempt, "error": type(error).__name__, "sqlstate": _sqlstate(error)},
                )
            if attempt < self._attempts:
                await asyncio.sleep(random.uniform(0.5, 1) * self._base_delay * 4 ** (attempt - 1))
        raise StorageUnavailable


def _may_pass(error: Exception) -> bool:
    if not isinstance(error, DBAPIError):
        return True
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return True
    state = _sqlstate(error)
    return state.startswith("08") or state in _RETRIED_STATES


def _sqlstate(error: Exception) -> str:
    original = getattr(error, "orig", None)
    return str(getattr(original, "sqlstate", None) or getattr(original, "pgcode", None) or "")
