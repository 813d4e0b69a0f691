"""Bounded prefetch and task group helpers for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Open a task group that raises its first failure itself, not in a group, after the other tasks have ended."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


@asynccontextmanager
async def background_task(work: Coroutine[object, object, R]) -> AsyncIterator[asyncio.Task[R]]:
    """Run `work` until the block ends, which cancels it; a failure is raised only where the task is awaited."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        await cancel_tasks(task)


async def gather_bounded(
    limit: int, work: Callable[[T], Coroutine[object, object, R]], items: Sequence[T]
) -> list[R]:
    """Run `work` on all items, at most `limit` at a time.

    Returns:
        The results in the order of the items.

    Raises:
        Exception: The first failure of `work`; the other tasks are cancelled.
    """
    semaphore = asyncio.Semaphore(limit)

    async def run(item: T) -> R:
        async with semaphore:
            return await work(item)

    async with task_group() as tasks:
        running = [tasks.create_task(run(item)) for item in items]
    return [task.result() for task in running]


async def cancel_tasks(*tasks: asyncio.Task[R]) -> None:
    """Cancel tasks and wait for them; their failures are retrieved, so that asyncio does not log them."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class _Stop:
    failure: Exception | None = None


class Prefetch(Generic[T]):
    """Iterates over `source` while a task reads ahead: one item is ready, the next one is in progress.

    Starts at once. Closing it also closes `source`. A failure of `source` is raised after the items before it.
    """

    def __init__(self, source: AsyncGenerator[T, None]) -> None:
        self._source = source
        self._queue: asyncio.Queue[_Item[T] | _Stop] = asyncio.Queue(maxsize=1)
        self._peeked: _Item[T] | _Stop | None = None
        self._task = asyncio.create_task(self._fill_queue())

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
        """Return the next item without consuming it; None at the end. Raise what reading the item would raise."""
        entry = self._peeked = self._peeked or await self._queue.get()
        if isinstance(entry, _Item):
            return entry.value
        if entry.failure is not None:
            raise entry.failure
        return None

    async def aclose(self) -> None:
        """Cancel the task and close the source."""
        await cancel_tasks(self._task)
        await self._source.aclose()

    async def _fill_queue(self) -> None:
        try:
            async for value in self._source:
                await self._queue.put(_Item(value))
        except Exception as failure:
            await self._queue.put(_Stop(failure))
        else:
            await self._queue.put(_Stop())


async def map_ordered(
    source: AsyncIterator[T], work: Callable[[T], Coroutine[object, object, R]], *, max_pending: int
) -> AsyncGenerator[tuple[T, R], None]:
    """Run `work` on the items of `source` concurrently.

    Args:
        max_pending: How many items are ready or in progress at a time.

    Yields:
        Each item with its result, in the order of `source`.

    Raises:
        Exception: A failure of `work` or `source`, after the items before it.
    """
    slots, pending = asyncio.Semaphore(max_pending), asyncio.Queue[tuple[T, asyncio.Task[R]] | _Stop]()
    tasks: set[asyncio.Task[R]] = set()

    async def start_tasks() -> None:
        try:
            while True:
                await slots.acquire()
                item = await anext(source)
                tasks.add(task := asyncio.create_task(work(item)))
                pending.put_nowait((item, task))
        except StopAsyncIteration:
            pending.put_nowait(_Stop())
        except Exception as failure:
            pending.put_nowait(_Stop(failure))

    starter = asyncio.create_task(start_tasks())
    try:
        while not isinstance(entry := await pending.get(), _Stop):
            item, task = entry
            result = await task
            tasks.discard(task)
            slots.release()
            yield item, result
        if entry.failure is not None:
            raise entry.failure
    finally:
        await cancel_tasks(starter)
        await cancel_tasks(*tasks)
