"""The stream behind FetchProducts: reads ahead by one batch, and is never silent for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta
from time import monotonic

from catalogsync.connector.v1 import connector_service_pb2 as pb

from connector_svc.domain.fetch import Batch, End, FetchEvent, Header, Wait
from connector_svc.rpc.batches import BatchWriter
from connector_svc.rpc.events import end_message, header_message, heartbeat_message, waiting_message
from connector_svc.rpc.mailbox import Mailbox
from connector_svc.rpc.requests import StreamRequest
from connector_svc.rpc.stream_mark import StreamMark, decode_mark
from servicekit.drain import Drain
from servicekit.failure import Failure


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
    """When it ends after a batch: connections move to new replicas, and do not wait for it for ever."""


class FetchStream:
    """One pass over one shop, for one client."""

    def __init__(
        self, request: StreamRequest, *, drain: Drain, redact: Callable[[str], str], timing: StreamTiming
    ) -> None:
        self._request = request
        self._drain = drain
        self._redact = redact
        self._timing = timing
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
        begin = monotonic()
        writer: BatchWriter | None = None
        while True:
            taken = await self._next()
            match taken:
                case None:
                    yield heartbeat_message()
                case Wait():
                    yield waiting_message(taken)
                case Header() if writer is None:
                    writer = self._writer(taken)
                    yield header_message(self._header(taken))
                case Batch() if writer is not None:
                    for message in writer.messages(taken):
                        yield message
                    self._expire(begin)
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

    def _expire(self, begin: float) -> None:
        if monotonic() - begin > self._timing.max_age.total_seconds():
            raise StreamExpired
