"""A database whose writes take a random time before they commit, and are rolled back at random."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from random import Random
from typing import Final, TypeVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog_svc.storage.database import Database

MAX_SECONDS: Final = 0.2
"""Between the last statement of a transaction and its end, by the server's clock."""
ROLLED_BACK: Final = 0.15

T = TypeVar("T")


class RolledBack(Exception):
    """A transaction was rolled back at random."""


class SlowDatabase(Database):
    """Keeps each write open for a random time, with all of its locks, and rolls some back."""

    def __init__(self, engine: AsyncEngine, chance: Random, *, on_roll_back: Callable[[], None]) -> None:
        super().__init__(engine)
        self._chance = chance
        self._on_roll_back = on_roll_back

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]], *, shops: Collection[UUID] = ()) -> T:
        """Write as `Database` does. Raises RolledBack at random."""
        seconds, roll_back = self._chance.uniform(0, MAX_SECONDS), self._chance.random() < ROLLED_BACK

        async def slow(connection: AsyncConnection) -> T:
            result = await work(connection)
            await connection.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})
            if roll_back:
                self._on_roll_back()
                raise RolledBack
            return result

        return await super().write(slow, shops=shops)
