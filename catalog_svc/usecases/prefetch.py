"""Prefetch: reads the source while the last batch is being stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import TracebackType
from typing import TypeAlias

from catalog_svc.domain.source import SourceBatch, SourceEvent

_log = logging.getLogger(__name__)

_QUEUE_SIZE = 4
"""Messages, of about 1 MiB at most each: two hide the latency, four allow small batches to be merged."""
_CANCEL_RETRY_SECONDS = 0.5


class _StreamEnd:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


_Entry: TypeAlias = SourceEvent | _StreamEnd


class Prefetch:
    """Events of a source, read by a task of its own into a bounded queue."""

    def __init__(self, events: AsyncGenerator[SourceEvent, None]) -> None:
        self._events = events
        self._queue: asyncio.Queue[_Entry] = asyncio.Queue(_QUEUE_SIZE)
        self._pushed_back: _Entry | None = None

    async def __aenter__(self) -> Prefetch:
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A source may lose a cancel that coincides with a reply; the reader then blocks on the full queue, which
        # nobody empties any more. So the cancel is repeated.
        while not self._reader.done():
            self._reader.cancel()
            await asyncio.wait((self._reader,), timeout=_CANCEL_RETRY_SECONDS)

    async def next(self) -> SourceEvent | None:
        """Return the next event; None when the source has ended.

        Raises:
            Exception: what the source raised, after all events before it.
        """
        entry, self._pushed_back = self._pushed_back or await self._queue.get(), None
        if not isinstance(entry, _StreamEnd):
            return entry
        if entry.error is not None:
            raise entry.error
        return None

    def merge_queued(self, batch: SourceBatch, *, max_items: int) -> SourceBatch:
        """Return `batch` merged with the batches queued after it that may be stored together with it.

        Args:
            batch: The last event that `next` returned.
            max_items: Nothing more is merged once the batch has this many items; the last one may exceed it.
        """
        while batch.item_count < max_items and self._pushed_back is None and not self._queue.empty():
            entry = self._queue.get_nowait()
            if isinstance(entry, SourceBatch) and batch.can_merge_with(entry):
                batch = batch.merged_with(entry)
            else:
                self._pushed_back = entry
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
            _log.exception("the source stream ended with a cancel of its own")
        except Exception as problem:
            error = problem
        await self._queue.put(_StreamEnd(error))


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
