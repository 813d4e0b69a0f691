from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync_common.drain import Drain
from catalogsync_common.logs import redact

from connector_svc.domain.fetch import Batch, Wait, WaitReason
from connector_svc.domain.product import Product
from connector_svc.rpc.fetch_stream import FetchStream, StreamBuffer, StreamExpired, StreamTiming
from connector_svc.rpc.requests import Platforms, parse_fetch
from tests.fakes.listed_platform import ListedPlatform
from tests.waiting import let_tasks_run


def stream_of(platform: ListedPlatform) -> FetchStream:
    request = pb.FetchProductsRequest(shop=pb.ShopRef(platform="listed", domain="a.example"), max_batch_products=1)
    parsed = parse_fetch(request, Platforms([platform]))
    return FetchStream(parsed, drain=Drain(), redact=redact, timing=StreamTiming())


async def test_the_reader_prefetches_exactly_one_batch() -> None:
    platform = ListedPlatform(products=[Product(id=str(number), title="") for number in range(9)])
    messages = stream_of(platform).messages()
    for taken in range(1, 6):
        await anext(messages)
        await let_tasks_run()
        assert len(platform.yielded) == taken + 1
    await messages.aclose()


async def test_closing_a_stream_waits_for_the_cleanup_of_its_reader() -> None:
    async def forever(_: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await let_tasks_run()

    platform = ListedPlatform(products=[Product(id="1", title="")])
    messages = stream_of(platform).messages()
    await anext(messages)
    platform.before_each = forever
    await let_tasks_run()
    await messages.aclose()
    assert platform.closed == 1


@dataclass
class ManualClock:
    """A clock in seconds that a test advances."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


async def batches_until_expired(platform: ListedPlatform, *, start: float, each: float) -> int:
    """Return how many batches a stream of max_age 10 s and max_expensive_age 100 s delivers.

    Its first batch is read after `start` seconds, each further one after `each` seconds.
    """
    clock = ManualClock()
    checkpoints: list[bytes] = []

    async def pass_time(_: object) -> None:
        clock.now += start if len(platform.yielded) == 1 else each

    platform.before_each = pass_time
    timing = StreamTiming(max_age=timedelta(seconds=10), max_expensive_age=timedelta(seconds=100))
    request = pb.FetchProductsRequest(shop=pb.ShopRef(platform="listed", domain="a.example"), max_batch_products=1)
    parsed = parse_fetch(request, Platforms([platform]))
    stream = FetchStream(parsed, drain=Drain(), redact=redact, timing=timing, monotonic=clock)

    async def read() -> None:
        async for message in stream.messages():
            checkpoints.extend([message.batch.checkpoint] if message.HasField("batch") else [])

    with pytest.raises(StreamExpired):
        await read()
    return len(checkpoints)


def many() -> list[Product]:
    return [Product(id=str(number), title="") for number in range(500)]


async def test_the_age_of_a_stream_counts_from_its_first_batch_so_that_no_slow_start_is_repeated() -> None:
    platform = ListedPlatform(products=many())
    assert await batches_until_expired(platform, start=3600, each=1) in (10, 11)


async def test_a_stream_whose_resume_is_expensive_lives_longer_but_not_forever() -> None:
    platform = ListedPlatform(products=many(), resume_is_expensive=True)
    assert await batches_until_expired(platform, start=3600, each=1) in (100, 101)


def wait(text: str) -> Wait:
    return Wait(reason=WaitReason.THROTTLED, until=datetime(2026, 11, 20, tzinfo=UTC), message=text)


def test_a_wait_that_is_not_over_follows_the_event_that_was_read_before_it() -> None:
    """A platform's reader waits for its next page while its last one is being sent."""
    buffer, batch = StreamBuffer(), Batch(products=(), checkpoint=b"1")
    waiting = Wait(reason=WaitReason.THROTTLED, until=datetime.now(UTC) + timedelta(minutes=1))
    buffer.put_wait(waiting)
    buffer.put(batch)
    assert [buffer.take(), buffer.take()] == [batch, waiting]


def test_a_wait_that_is_over_is_dropped_when_the_next_event_is_put() -> None:
    buffer = StreamBuffer()
    buffer.put_wait(wait("over"))
    buffer.put(Batch(products=(), checkpoint=b"1"))
    buffer.fail(RuntimeError("broke"))
    buffer.take()
    with pytest.raises(RuntimeError, match="broke"):
        buffer.take()


def test_a_buffer_returns_the_event_then_the_wait_then_the_failure() -> None:
    buffer, batch, failure = StreamBuffer(), Batch(products=(), checkpoint=b"1"), RuntimeError("broke")
    buffer.put_wait(wait("over"))
    buffer.put(batch)
    buffer.put_wait(wait("first"))
    buffer.put_wait(wait("second"))
    buffer.fail(failure)
    buffer.fail(RuntimeError("later"))
    assert buffer.take() is batch
    assert buffer.take() == wait("second")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broke"):
            buffer.take()
