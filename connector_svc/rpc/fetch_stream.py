"""The stream behind FetchProducts: prefetches one batch, and sends a heartbeat when it has been silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from time import monotonic

from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync_common.drain import Drain
from catalogsync_common.failure import Failure

from connector_svc.domain.fetch import Batch, End, FetchEvent, Header, Wait
from connector_svc.rpc.batches import BatchWriter
from connector_svc.rpc.convert import end_message, header_message, heartbeat_message, waiting_message
from connector_svc.rpc.requests import StreamRequest
from connector_svc.rpc.stream_checkpoint import StreamCheckpoint, decode_stream_checkpoint


class StreamExpired(Failure):
    """The stream has reached the maximum age of one connection."""

    reason = "STREAM_EXPIRED"

    def __init__(self) -> None:
        super().__init__("The stream has reached its maximum age. Call again with the last checkpoint.")


class ReaderContractBroken(Exception):
    """A platform's reader broke the contract of `Platform.fetch`; the message says how."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamTiming:
    """Heartbeat and maximum age of a stream."""

    heartbeat: timedelta = timedelta(seconds=10)
    """The longest silence."""
    max_age: timedelta = timedelta(minutes=15)
    """From the first batch with content to the batch after which the stream ends, so that connections move to new
    replicas. The start does not count, or a start that takes longer than this would be repeated for each batch."""
    max_expensive_age: timedelta = timedelta(hours=2)
    """The same if a resume is expensive: the start is repeated at most once in this time."""


class FetchStream:
    """One pass over one shop, for one client."""

    def __init__(
        self,
        request: StreamRequest,
        *,
        drain: Drain,
        redact: Callable[[str], str],
        timing: StreamTiming,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        self._request = request
        self._drain = drain
        self._redact = redact
        self._timing = timing
        self._monotonic = monotonic
        self._resumed = decode_stream_checkpoint(request.fetch.shop, request.fetch.checkpoint)
        self._buffer = StreamBuffer()

    async def messages(self) -> AsyncGenerator[pb.FetchProductsResponse, None]:
        """Yield the messages in order. Closing the generator stops the reader and waits for its clean-up."""
        tasks = (asyncio.create_task(self._read()), asyncio.create_task(self._watch_drain()))
        try:
            async with aclosing(self._write()) as messages:
                async for message in messages:
                    yield message
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        """Fill the buffer with the events of the platform, and with a failure at last."""
        failure: BaseException = ReaderContractBroken("ended without an End")
        checkpoint = self._resumed.platform if self._resumed else b""
        request = self._request.with_checkpoint(checkpoint)
        reader = self._request.platform.fetch(request, on_wait=self._buffer.put_wait)
        try:
            async with aclosing(reader) as events:
                async for event in events:
                    self._buffer.put(event)
                    await self._buffer.wait_empty()
        except Exception as error:
            failure = error
        finally:
            # Also if a task inside the reader was cancelled, of which the client would not hear otherwise.
            self._buffer.fail(failure)

    async def _watch_drain(self) -> None:
        try:
            await self._drain.wait()
        except Failure as draining:
            self._buffer.fail(draining)

    async def _write(self) -> AsyncGenerator[pb.FetchProductsResponse, None]:
        writer: BatchWriter | None = None
        age = _StreamAge(self._timing, self._monotonic)
        while True:
            item = await self._next()
            match item:
                case None:
                    yield heartbeat_message()
                case Wait():
                    yield waiting_message(item)
                case Header() if writer is None:
                    writer = self._writer(item)
                    age.is_expensive = item.resume_is_expensive
                    yield header_message(self._header(item))
                case Batch() if writer is not None:
                    for message in await writer.messages(item):
                        yield message
                    age.check_after(item)
                case End() if writer is not None:
                    yield end_message(writer.end(item))
                    return
                case _:
                    raise ReaderContractBroken("the header was not first, or was sent twice")

    async def _next(self) -> FetchEvent | Wait | None:
        """Return the next item of the buffer, or None after a silence of one heartbeat interval."""
        try:
            async with asyncio.timeout(self._timing.heartbeat.total_seconds()):
                await self._buffer.wait_filled()
        except TimeoutError:
            return None
        return self._buffer.take()

    def _writer(self, header: Header) -> BatchWriter:
        checkpoint = self._resumed or StreamCheckpoint(watermark=header.watermark)
        return BatchWriter(checkpoint, redact=self._redact)

    def _header(self, header: Header) -> Header:
        if self._resumed is None:
            return header
        return replace(header, resumed=True, watermark=self._resumed.watermark)


class StreamBuffer:
    """Passes events from a platform's reader to the stream; holds at most one event and one wait.

    Both sides run in one event loop. Prefetching more than one event gains nothing: while it is sent, the next is
    fetched.
    """

    def __init__(self) -> None:
        self._event: FetchEvent | None = None
        self._wait: Wait | None = None
        self._failure: BaseException | None = None
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    async def wait_empty(self) -> None:
        """Return once an event can be put."""
        await self._empty.wait()

    def put(self, event: FetchEvent) -> None:
        """Put an event; there must be none. A wait that is not over stays: a reader that prefetches waits for its
        next page.
        """
        self._event = event
        if self._wait is not None and self._wait.until <= datetime.now(UTC):
            self._wait = None
        self._empty.clear()
        self._filled.set()

    def put_wait(self, wait: Wait) -> None:
        """Put a wait; it replaces one that was not taken yet."""
        self._wait = wait
        self._filled.set()

    def fail(self, failure: BaseException) -> None:
        """Put the failure that follows the event that is still there; the first failure counts."""
        self._failure = self._failure or failure
        self._filled.set()

    async def wait_filled(self) -> None:
        """Return once `take` has something."""
        await self._filled.wait()

    def take(self) -> FetchEvent | Wait:
        """Take the event, else the wait, else raise the failure. Call after `wait_filled`."""
        event, wait = self._event, self._wait
        if event is not None:
            self._event = None
            self._empty.set()
        elif wait is not None:
            self._wait = None
        if self._event is None and self._wait is None and self._failure is None:
            self._filled.clear()
        item = event or wait
        if item is not None:
            return item
        assert self._failure is not None
        raise self._failure


class _StreamAge:
    """How long a stream has delivered batches with content."""

    def __init__(self, timing: StreamTiming, monotonic: Callable[[], float]) -> None:
        self.is_expensive = False
        """Whether a resume of the stream is expensive."""
        self._timing = timing
        self._monotonic = monotonic
        self._started_at: float | None = None

    def check_after(self, batch: Batch) -> None:
        """Raise StreamExpired if the stream must end after `batch`."""
        if self._started_at is None:
            if not _has_content(batch):
                return
            self._started_at = self._monotonic()
        timing = self._timing
        max_age = timing.max_expensive_age if self.is_expensive else timing.max_age
        if self._monotonic() - self._started_at >= max_age.total_seconds():
            raise StreamExpired


def _has_content(batch: Batch) -> bool:
    """Return False for a batch that only carries a checkpoint, such as one that names the job that was started."""
    content = (
        batch.products,
        batch.issues,
        batch.deleted_product_ids,
        batch.stock_levels,
        batch.listed_product_ids,
    )
    return any(content)
