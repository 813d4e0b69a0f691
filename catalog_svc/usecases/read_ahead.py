"""Reads the source while the last batch is being stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import TracebackType
from typing import TypeAlias

from catalog_svc.domain.source import SourceBatch, SourceEvent

_log = logging.getLogger(__name__)
_DEPTH = 4
"""Messages read ahead, about 1 MiB each at most: two hide the latency, four let small ones be gathered."""

_CANCEL_AGAIN = 0.5
"""Seconds."""


class _Broken:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


_Entry: TypeAlias = SourceEvent | _Broken


class ReadAhead:
    """Events of a source, read by a task of its own into a bounded queue."""

    def __init__(self, events: AsyncGenerator[SourceEvent, None]) -> None:
        self._events = events
        self._queue: asyncio.Queue[_Entry] = asyncio.Queue(_DEPTH)
        self._held: _Entry | None = None

    async def __aenter__(self) -> ReadAhead:
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is read may lose a cancel that meets an answer, and then there is nobody left who makes room for it.
        while not self._reader.done():
            self._reader.cancel()
            await asyncio.wait((self._reader,), timeout=_CANCEL_AGAIN)

    async def next(self) -> SourceEvent | None:
        """The next event; None when the source ended. Raises what the source raised, after all before it."""
        entry, self._held = self._held or await self._queue.get(), None
        if not isinstance(entry, _Broken):
            return entry
        if entry.error is not None:
            raise entry.error
        return None

    def with_following(self, batch: SourceBatch, items: int) -> SourceBatch:
        """`batch` and those that have arrived after it and may be gathered with it, up to about `items` items."""
        while batch.item_count < items and self._held is None and not self._queue.empty():
            entry = self._queue.get_nowait()
            if isinstance(entry, SourceBatch) and batch.can_merge_with(entry):
                batch = batch.merged_with(entry)
            else:
                self._held = entry
        return batch

    async def _read(self) -> None:
        error: BaseException | None = None
        try:
            async with aclosing(self._events) as events:
                async for event in events:
                    await self._queue.put(event)
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            # Something inside the source was cancelled, not this reader: the stream has broken off.
            _log.exception("a source ended by a cancel of its own")
        except Exception as problem:
            error = problem
        await self._queue.put(_Broken(error))


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
