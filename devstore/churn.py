"""A catalog that changes while it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from devstore.catalog.catalog import Catalog
from devstore.mutator import Mutator


class Churn:
    """Changes random things of one catalog, about so many times a second, from `start` to `stop`."""

    def __init__(self, catalog: Catalog, *, changes_per_second: float, seed: int) -> None:
        if changes_per_second <= 0:
            raise ValueError("changes_per_second must be above 0")
        self._mutator = Mutator([catalog], Random(seed))
        self._pause = 1 / changes_per_second
        self._task: asyncio.Task[None] | None = None

    @property
    def counts(self) -> dict[str, int]:
        """What was changed so far, by kind."""
        return dict(self._mutator.counts)

    def start(self) -> None:
        """Changes begin."""
        self._task = asyncio.create_task(self._mutator.run(self._pause))

    async def stop(self) -> None:
        """The catalog holds still from now on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None


@asynccontextmanager
async def churning(catalog: Catalog, *, changes_per_second: float, seed: int = 7) -> AsyncIterator[Churn]:
    """The catalog changes until the block ends."""
    churn = Churn(catalog, changes_per_second=changes_per_second, seed=seed)
    churn.start()
    try:
        yield churn
    finally:
        await churn.stop()
