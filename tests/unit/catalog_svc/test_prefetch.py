"""Prefetch ends when its reader stops, whatever the source does with the cancel, and merges queued batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, cast

import grpc
import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb

from catalog_svc.domain.errors import ConnectorUnavailable
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.source import SourceBatch, SourceEvent, SourceRequest
from catalog_svc.source import decode
from catalog_svc.source.connector_client import ConnectorSource
from catalog_svc.usecases.prefetch import Prefetch
from tests.fakes.product_source import product
from tests.waiting import TIMEOUT_SECONDS, let_tasks_run


def one_batch() -> SourceBatch:
    return decode.batch(pb.ProductBatch(checkpoint=b"1"), currency_code="EUR")


async def four_batches_and_an_error_instead_of_a_cancel() -> AsyncGenerator[SourceEvent, None]:
    for _ in range(4):
        yield one_batch()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise ConnectorUnavailable from None


async def test_a_source_that_loses_a_cancel_while_the_queue_is_full_ends() -> None:
    """Such a source once held its slot on the replica forever."""
    async with asyncio.timeout(TIMEOUT_SECONDS), Prefetch(four_batches_and_an_error_instead_of_a_cancel()):
        await let_tasks_run()


class _Call:
    """A call whose messages the test provides."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[pb.FetchProductsResponse] = asyncio.Queue()
        self.cancelled = False

    async def read(self) -> pb.FetchProductsResponse:
        return await self.messages.get()

    def cancel(self) -> None:
        self.cancelled = True


class _Channel:
    """A channel whose every call is the same one."""

    def __init__(self, call: _Call) -> None:
        self._call = call

    def unary_stream(self, method: str, **_: object) -> Callable[..., _Call]:
        return lambda request, metadata: self._call

    unary_unary = unary_stream


@pytest.mark.parametrize("steps", range(6))
async def test_a_cancel_that_coincides_with_a_message_is_not_lost(steps: int) -> None:
    call = _Call()
    source = ConnectorSource(cast("grpc.aio.Channel", _Channel(call)))
    request = SourceRequest(shop=ShopKey("shopify", "a.myshopify.com"), updated_after=None, checkpoint=b"")

    async def read() -> None:
        async for _ in source.fetch(request):
            pass

    reading = asyncio.create_task(read())
    await let_tasks_run()
    call.messages.put_nowait(pb.FetchProductsResponse(batch=pb.ProductBatch()))
    for _ in range(steps):
        await asyncio.sleep(0)
    reading.cancel()
    ended, _ = await asyncio.wait((reading,), timeout=TIMEOUT_SECONDS)
    assert ended
    assert reading.cancelled()


async def test_a_cancel_inside_the_source_ends_the_stream_and_does_not_hang() -> None:
    async def source() -> AsyncGenerator[SourceEvent, None]:
        yield one_batch()
        raise asyncio.CancelledError

    async with Prefetch(source()) as events, asyncio.timeout(TIMEOUT_SECONDS):
        assert await events.next() == one_batch()
        assert await events.next() is None


def batch_of(checkpoint: bytes, **parts: Any) -> SourceBatch:
    return decode.batch(pb.ProductBatch(checkpoint=checkpoint, **parts), currency_code="EUR")


STOCK = pb.StockLevel(product_id="1", variant_id="1-1", stock_quantity=0, available=False)


@pytest.mark.parametrize(
    ("batches", "merged"),
    [
        ([batch_of(b"1", products=[product("1")]), batch_of(b"2", products=[product("1"), product("2")])], 2),
        ([batch_of(b"1", products=[product("1")]), batch_of(b"2", deleted_product_ids=["1"])], 2),
        ([batch_of(b"1", products=[product("1")]), batch_of(b"2", stock_levels=[STOCK])], 2),
        ([batch_of(b"1", deleted_product_ids=["1"]), batch_of(b"2", products=[product("2")])], 2),
        ([batch_of(b"1", deleted_product_ids=["1"]), batch_of(b"2", products=[product("1")])], 1),
        ([batch_of(b"1", stock_levels=[STOCK]), batch_of(b"2", products=[product("1")])], 1),
    ],
)
async def test_batches_are_merged_only_if_that_stores_the_same(batches: list[SourceBatch], merged: int) -> None:
    ready = asyncio.Event()

    async def source() -> AsyncGenerator[SourceEvent, None]:
        for batch in batches:
            yield batch
        ready.set()

    async with Prefetch(source()) as events:
        await ready.wait()
        first = await events.next()
        assert isinstance(first, SourceBatch)
        whole = events.merge_queued(first, max_items=2_000)
        assert whole.checkpoint == batches[merged - 1].checkpoint
        assert await events.next() == (batches[merged] if merged < len(batches) else None)
