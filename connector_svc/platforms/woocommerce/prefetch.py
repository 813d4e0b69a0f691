"""Work side by side, with a limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

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


@asynccontextmanager
async def started(work: Coroutine[object, object, R]) -> AsyncIterator[asyncio.Task[R]]:
    """`work` under way until the block ends, which cancels it; a failure is for who awaits it."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        await ended(task)


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


class Ahead(Generic[T]):
    """What `source` yields, made while the reader is busy: one item waits, one is in the making.

    Begins at once. Ends `source` with itself; its failures are raised after the items before them.
    """

    def __init__(self, source: AsyncGenerator[T, None]) -> None:
        self._source = source
        self._queue: asyncio.Queue[_Item[T] | _Stop] = asyncio.Queue(maxsize=1)
        self._peeked: _Item[T] | _Stop | None = None
        self._task = asyncio.create_task(self._pump())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        entry = self._peeked or await self._queue.get()
        if isinstance(entry, _Item):
            self._peeked = None
            return entry.value
        self._peeked = entry
        raise entry.failure or StopAsyncIteration

    async def peek(self) -> T | None:
        """The next item, which stays the next one; None at the end. Raises as the reader would."""
        entry = self._peeked = self._peeked or await self._queue.get()
        if isinstance(entry, _Item):
            return entry.value
        if entry.failure is not None:
            raise entry.failure
        return None

    async def aclose(self) -> None:
        """Ends all of it."""
        await ended(self._task)
        await self._source.aclose()

    async def _pump(self) -> None:
        try:
            async for value in self._source:
                await self._queue.put(_Item(value))
        except Exception as failure:
            await self._queue.put(_Stop(failure))
        else:
            await self._queue.put(_Stop())


async def in_order(
    source: AsyncIterator[T], work: Callable[[T], Coroutine[object, object, R]], *, most: int
) -> AsyncGenerator[tuple[T, R], None]:
    """Each item with what `work` makes of it, in order; `most` of them are ready or in the making.

    Failures, of the source as well, are raised after the items before them.
    """
    places, begun = asyncio.Semaphore(most), asyncio.Queue[tuple[T, asyncio.Task[R]] | _Stop]()
    tasks: set[asyncio.Task[R]] = set()

    async def begin() -> None:
        try:
            while True:
                await places.acquire()
                item = await anext(source)
                tasks.add(task := asyncio.create_task(work(item)))
                begun.put_nowait((item, task))
        except StopAsyncIteration:
            begun.put_nowait(_Stop())
        except Exception as failure:
            begun.put_nowait(_Stop(failure))

    beginning = asyncio.create_task(begin())
    try:
        while not isinstance(entry := await begun.get(), _Stop):
            item, task = entry
            made = await task
            tasks.discard(task)
            places.release()
            yield item, made
        if entry.failure is not None:
            raise entry.failure
    finally:
        await ended(beginning)
        await ended(*tasks)


async def ended(*tasks: asyncio.Task[R]) -> None:
    """Cancels them, and looks at what became of them, which asyncio wants."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
