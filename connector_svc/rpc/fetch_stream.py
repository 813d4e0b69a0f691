"""The stream behind FetchProducts: reads ahead by one batch, and is never silent for long.

What the reader of a platform hands to the writer of a stream."""

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
from connector_svc.rpc.stream_checkpoint import StreamMark, decode_mark


class StreamExpired(Failure):
    """The stream has lived long enough for one connection."""

    reason = "STREAM_EXPIRED"

    def __init__(self) -> None:
        super().__init__("The stream has reached its age. Call again with the last checkpoint.")


class ReaderBroke(Exception):
    """A platform's reader broke its contract; what it did is the message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamTiming:
    """How a stream keeps time."""

    heartbeat: timedelta = timedelta(seconds=10)
    """The longest silence."""
    max_age: timedelta = timedelta(minutes=15)
    """From its first batch with content to the batch after which it ends: connections move to new replicas. The
    start does not count, or a start that takes longer than this would be repeated for each batch."""
    max_expensive_age: timedelta = timedelta(hours=2)
    """The same where a resume is expensive: the start is repeated once in so long at most."""


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
        self._resumed = decode_mark(request.fetch.shop, request.fetch.checkpoint)
        self._mailbox = Mailbox()

    async def messages(self) -> AsyncGenerator[pb.FetchProductsResponse, None]:
        """The messages in order. Closing it stops the reader and waits for its clean-up."""
        tasks = (asyncio.create_task(self._read()), asyncio.create_task(self._watch_drain()))
        try:
            async with aclosing(self._written()) as written:
                async for message in written:
                    yield message
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        """Fills the mailbox. Ends with a failure in it, or with the end of the pass."""
        failure: BaseException = ReaderBroke("ended without an End")
        checkpoint = self._resumed.platform if self._resumed else b""
        reader = self._request.platform.fetch(self._request.at(checkpoint), on_wait=self._mailbox.put_wait)
        try:
            async with aclosing(reader) as events:
                async for event in events:
                    self._mailbox.put(event)
                    await self._mailbox.room()
        except Exception as error:
            failure = error
        finally:
            # Also when a task inside the reader was cancelled, of which nobody else would tell the client.
            self._mailbox.fail(failure)

    async def _watch_drain(self) -> None:
        try:
            await self._drain.wait()
        except Failure as draining:
            self._mailbox.fail(draining)

    async def _written(self) -> AsyncGenerator[pb.FetchProductsResponse, None]:
        writer: BatchWriter | None = None
        age = _Age(self._timing, self._monotonic)
        while True:
            taken = await self._next()
            match taken:
                case None:
                    yield heartbeat_message()
                case Wait():
                    yield waiting_message(taken)
                case Header() if writer is None:
                    writer = self._writer(taken)
                    age.is_expensive = taken.resume_is_expensive
                    yield header_message(self._header(taken))
                case Batch() if writer is not None:
                    for message in writer.messages(taken):
                        yield message
                    age.count(taken)
                case End() if writer is not None:
                    yield end_message(writer.end(taken))
                    return
                case _:
                    raise ReaderBroke("the header was not first, or came twice")

    async def _next(self) -> FetchEvent | Wait | None:
        """What the mailbox holds; None after a silence."""
        try:
            async with asyncio.timeout(self._timing.heartbeat.total_seconds()):
                await self._mailbox.filled()
        except TimeoutError:
            return None
        return self._mailbox.take()

    def _writer(self, header: Header) -> BatchWriter:
        mark = self._resumed or StreamMark(began=header.watermark)
        return BatchWriter(mark, redact=self._redact)

    def _header(self, header: Header) -> Header:
        if self._resumed is None:
            return header
        return replace(header, resumed=True, watermark=self._resumed.began)


class _Age:
    """How long a stream has delivered, and whether that is enough."""

    def __init__(self, timing: StreamTiming, monotonic: Callable[[], float]) -> None:
        self.is_expensive = False
        """Whether a resume of the stream is."""
        self._timing = timing
        self._monotonic = monotonic
        self._began_at: float | None = None

    def count(self, batch: Batch) -> None:
        """Raise StreamExpired when the stream is to end after `batch`."""
        if self._began_at is None:
            if not _has_content(batch):
                return
            self._began_at = self._monotonic()
        timing = self._timing
        most = timing.max_expensive_age if self.is_expensive else timing.max_age
        if self._monotonic() - self._began_at >= most.total_seconds():
            raise StreamExpired


def _has_content(batch: Batch) -> bool:
    """False for a batch that only carries a checkpoint, such as one that names the job that was started."""
    found = (
        batch.products,
        batch.issues,
        batch.deleted_product_ids,
        batch.stock_levels,
        batch.listed_product_ids,
    )
    return any(found)


class Mailbox:
    """Holds at most one event and one wait; both sides run in one event loop.

    One event is all the read-ahead that pays: while it is sent, the next is fetched.
    """

    def __init__(self) -> None:
        self._event: FetchEvent | None = None
        self._wait: Wait | None = None
        self._failure: BaseException | None = None
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def room(self) -> None:
        """Returns when an event can be put."""
        await self._room.wait()

    def put(self, event: FetchEvent) -> None:
        """There must be room. A wait that is not over stays: a reader that reads ahead waits for its next page."""
        self._event = event
        if self._wait is not None and self._wait.until <= datetime.now(UTC):
            self._wait = None
        self._room.clear()
        self._filled.set()

    def put_wait(self, wait: Wait) -> None:
        """Replaces a wait that was not taken yet."""
        self._wait = wait
        self._filled.set()

    def fail(self, failure: BaseException) -> None:
        """What comes after the event that is still there; the first failure counts."""
        self._failure = self._failure or failure
        self._filled.set()

    async def filled(self) -> None:
        """Returns when `take` has something."""
        await self._filled.wait()

    def take(self) -> FetchEvent | Wait:
        """The oldest thing there is; raises the failure when it is all there is. Call after `filled`."""
        event, wait = self._event, self._wait
        if event is not None:
            self._event = None
            self._room.set()
        elif wait is not None:
            self._wait = None
        self._tell()
        taken = event or wait
        if taken is not None:
            return taken
        assert self._failure is not None
        raise self._failure

    def _tell(self) -> None:
        if self._event is None and self._wait is None and self._failure is None:
            self._filled.clear()
