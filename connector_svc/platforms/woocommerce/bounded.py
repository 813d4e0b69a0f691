"""Work side by side, with a limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@asynccontextmanager
async def side_by_side() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group that raises its first failure as it is, after the other tasks have ended."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def gather_bounded(
    limit: int, work: Callable[[T], Coroutine[object, object, R]], items: Sequence[T]
) -> list[R]:
    """`work` of each item in order, at most `limit` at a time; the first failure ends the others and is raised."""
    gate = asyncio.Semaphore(limit)

    async def one(item: T) -> R:
        async with gate:
            return await work(item)

    async with side_by_side() as group:
        tasks = [group.create_task(one(item)) for item in items]
    return [task.result() for task in tasks]


@dataclass(frozen=True, slots=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class _Stop:
    failure: Exception | None = None


async def read_ahead(source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """What `source` yields, made while the reader is busy: one item waits, one is in the making.

    Ends `source` with itself; its failures are raised after the items before them.
    """
    queue: asyncio.Queue[_Item[T] | _Stop] = asyncio.Queue(maxsize=1)
    task = asyncio.create_task(_pump(source, queue))
    try:
        while isinstance(entry := await queue.get(), _Item):
            yield entry.value
        if entry.failure is not None:
            raise entry.failure
    finally:
        task.cancel()
        await asyncio.wait([task])
        await source.aclose()


async def _pump(source: AsyncGenerator[T, None], queue: asyncio.Queue[_Item[T] | _Stop]) -> None:
    try:
        async for value in source:
            await queue.put(_Item(value))
    except Exception as failure:
        await queue.put(_Stop(failure))
    else:
        await queue.put(_Stop())
