"""WatchItems and ListItemChanges over gRPC: snapshot, changes, checkpoints, and the ends of a stream."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta

import grpc
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_common.drain import Drain, ServerDraining
from catalogsync_common.status import read_failure

from catalog_svc.domain.errors import ShopNotFound, StorageUnavailable, TooManyWatchers
from catalog_svc.rpc.item_feed import watch_messages
from catalog_svc.storage.database import Database
from catalog_svc.storage.item_feed import ItemFeedStore
from catalog_svc.usecases.item_feed_hub import ItemFeedHub
from catalog_svc.usecases.stream_lifetime import ReconnectReason
from catalog_svc.usecases.watch_items import FeedMessage, FeedStreamLimits, WatchItems
from catalog_svc.usecases.watcher_limits import WatcherLimiter
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.catalog_server import service
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld
from tests.integration.catalog_svc.feed_reader import RandomWriter
from tests.waiting import within_timeout

REF = pb.ShopRef(platform=SHOP.platform, domain=SHOP.domain)


Call = grpc.aio.UnaryStreamCall[pb.WatchItemsRequest, pb.WatchItemsResponse]


async def _read_to_end(call: Call) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def next_with_items(call: Call) -> pb.WatchItemsResponse:
    while True:
        message = await within_timeout(call.read())
        assert isinstance(message, pb.WatchItemsResponse)
        if message.items:
            return message


async def test_a_client_gets_all_items_then_changes_and_continues_after_its_last_position(
    world: CatalogWorld, database_url: str
) -> None:
    await world.sync(MemorySource([product(f"{n}", items=2) for n in range(3)]))
    async with service(database_url) as stub:
        call = stub.WatchItems(pb.WatchItemsRequest(shop=REF))
        first = await next_with_items(call)
        assert [item.item_id for item in first.items] == ["0-1", "0-2", "1-1", "1-2", "2-1", "2-2"]
        assert first.caught_up
        await world.sync(MemorySource([product("0", items=1), *(product(f"{n}", items=2) for n in (1, 2))]))
        change = await next_with_items(call)
        assert [(item.item_id, item.HasField("delete_time")) for item in change.items] == [("0-2", True)]
        call.cancel()
        again = stub.WatchItems(pb.WatchItemsRequest(shop=REF, after_position=first.position))
        assert (await next_with_items(again)).items == change.items
        again.cancel()
        rest = await stub.ListItemChanges(pb.ListItemChangesRequest(shop=REF, after_position=first.position))
        assert (rest.items, rest.caught_up) == (change.items, True)
        at_end = pb.ListItemChangesRequest(shop=REF, after_position=rest.position)
        assert not (await stub.ListItemChanges(at_end)).items


async def test_a_client_that_polls_gets_pages_until_it_has_caught_up(
    world: CatalogWorld, database_url: str
) -> None:
    await world.sync(MemorySource([product(f"{n}", items=2) for n in range(3)]))
    async with service(database_url) as stub:
        pages: list[pb.ListItemChangesResponse] = []
        while not pages or not pages[-1].caught_up:
            position = pages[-1].position if pages else ""
            request = pb.ListItemChangesRequest(shop=REF, after_position=position, page_size=4)
            pages.append(await stub.ListItemChanges(request))
    assert [len(page.items) for page in pages] == [4, 2]
    assert len({item.item_id for page in pages for item in page.items}) == 6


async def test_large_items_are_sent_in_messages_that_clients_accept(
    world: CatalogWorld, database_url: str
) -> None:
    """300 items of 20 kB: gRPC clients refuse messages above 4 MiB."""
    large = [product(f"{n:03}", title="x" * 20_000) for n in range(300)]
    writer = RandomWriter(world, random.Random(0), steps=0, purges=False)
    await writer.store(*large)
    async with service(database_url) as stub:
        call = stub.WatchItems(pb.WatchItemsRequest(shop=REF))
        messages = [await next_with_items(call)]
        while not messages[-1].caught_up:
            messages.append(await next_with_items(call))
        call.cancel()
        assert sum(len(message.items) for message in messages) == 300
        assert len(messages) > 1
        assert max(message.ByteSize() for message in messages) < 1_200_000
        request = pb.WatchItemsRequest(shop=REF, after_position=messages[1].position)
        rest = await next_with_items(stub.WatchItems(request))
        assert rest.items[0] == messages[2].items[0]
        page = await stub.ListItemChanges(pb.ListItemChangesRequest(shop=REF))
        assert (list(page.items), page.caught_up) == (list(messages[0].items), False)


async def test_an_expired_position_says_so_before_and_during_a_stream(
    world: CatalogWorld, database_url: str
) -> None:
    writer = RandomWriter(world, random.Random(0), steps=0, purges=True)
    await writer.store(product("1"), product("2"))
    async with service(database_url) as stub:
        call = stub.WatchItems(pb.WatchItemsRequest(shop=REF))
        first = await next_with_items(call)
        await world.execute(
            "UPDATE shop_state SET feed_position = feed_position + 9, feed_floor = feed_position + 9"
        )
        for ended in (call, stub.WatchItems(pb.WatchItemsRequest(shop=REF, after_position=first.position))):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await within_timeout(_read_to_end(ended))
            failure = await read_failure(caught.value, ended)
            assert (failure.code, failure.reason) == (grpc.StatusCode.OUT_OF_RANGE, "POSITION_EXPIRED")
            assert failure.retry_after is None


async def test_a_position_that_is_none_is_an_invalid_field(world: CatalogWorld, database_url: str) -> None:
    await world.sync(MemorySource([product("1")]))
    async with service(database_url) as stub:
        call = stub.WatchItems(pb.WatchItemsRequest(shop=REF, after_position="12"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        failure = await read_failure(caught.value, call)
        assert (failure.reason, "after_position" in failure.message) == ("INVALID_REQUEST", True)


class Followers:
    """The use case over PostgreSQL, with short times."""

    def __init__(
        self,
        world: CatalogWorld,
        *,
        checkpoint_every: timedelta = timedelta(milliseconds=50),
        max_age: timedelta = timedelta(minutes=15),
        limiter: WatcherLimiter | None = None,
    ) -> None:
        feeds = ItemFeedStore(Database(world.engine))
        self.hub = ItemFeedHub(feeds, limiter=limiter, poll_interval=timedelta(milliseconds=20))
        self.drain = Drain()
        limits = FeedStreamLimits(page_items=3, checkpoint_every=checkpoint_every, max_age=max_age)
        self.watch = WatchItems(read=world.reader(), feeds=feeds, hub=self.hub, drain=self.drain, limits=limits)

    def follow(self) -> AsyncGenerator[FeedMessage, None]:
        return self.watch(SHOP, None)


@asynccontextmanager
async def polling(followers: Followers) -> AsyncIterator[None]:
    task = asyncio.create_task(followers.hub.run(followers.drain))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_idle_follower_gets_checkpoints_with_newer_positions(world: CatalogWorld) -> None:
    await world.sync(MemorySource([product("1", items=4)]))
    followers = Followers(world)
    async with polling(followers), aclosing(followers.follow()) as messages:
        pages = [(await within_timeout(anext(messages))).page for _ in range(4)]
        assert [len(page.items) for page in pages] == [3, 1, 0, 0]
        assert [page.caught_up for page in pages] == [False, True, True, True]
        assert pages[2].cursor == pages[1].cursor


async def test_a_stream_at_its_maximum_age_ends_with_a_reason_to_reconnect(world: CatalogWorld) -> None:
    await world.sync(MemorySource([product("1")]))
    followers = Followers(world, max_age=timedelta(0))
    async with polling(followers):
        received = [message async for message in followers.follow()]
    assert [message.reconnect for message in received] == [ReconnectReason.STREAM_EXPIRED]
    assert [message.reconnect_reason for message in watch_messages(received[0])] == [
        pb.WatchSyncResponse.RECONNECT_REASON_STREAM_EXPIRED
    ]


async def test_a_drain_ends_a_waiting_stream_with_a_reason_and_refuses_new_ones(world: CatalogWorld) -> None:
    await world.sync(MemorySource([product("1")]))
    followers = Followers(world, checkpoint_every=timedelta(hours=1))
    async with polling(followers), aclosing(followers.follow()) as messages:
        await anext(messages)
        waiting = asyncio.ensure_future(anext(messages))
        followers.drain.start()
        assert (await within_timeout(waiting)).reconnect is ReconnectReason.SERVER_DRAINING
        with pytest.raises(StopAsyncIteration):
            await anext(messages)
        with pytest.raises(ServerDraining):
            await anext(followers.follow())


async def test_a_stream_ends_when_its_shop_is_deleted(world: CatalogWorld) -> None:
    await world.sync(MemorySource([product("1")]))
    followers = Followers(world, checkpoint_every=timedelta(hours=1))
    async with polling(followers), aclosing(followers.follow()) as messages:
        await anext(messages)
        waiting = asyncio.ensure_future(anext(messages))
        await world.execute("UPDATE shop_state SET deleting = true")
        with pytest.raises(ShopNotFound):
            await within_timeout(waiting)


async def test_followers_above_the_limit_of_a_shop_are_refused(world: CatalogWorld) -> None:
    await world.sync(MemorySource([product("1")]))
    limiter = WatcherLimiter(max_watchers_per_shop=1)
    followers = Followers(world, limiter=limiter)
    async with polling(followers):
        async with aclosing(followers.follow()) as messages:
            await anext(messages)
            with pytest.raises(TooManyWatchers):
                await anext(followers.follow())
        assert limiter.count == 0


async def test_an_idle_stream_ends_when_the_database_is_not_read_any_more(world: CatalogWorld) -> None:
    """Nothing polls: silence would look like a shop that does not change."""
    await world.sync(MemorySource([product("1")]))
    followers = Followers(world)
    followers.hub = ItemFeedHub(ItemFeedStore(Database(world.engine)), max_read_age=timedelta(0))
    watch = WatchItems(
        read=world.reader(),
        feeds=ItemFeedStore(Database(world.engine)),
        hub=followers.hub,
        drain=followers.drain,
        limits=FeedStreamLimits(checkpoint_every=timedelta(milliseconds=20)),
    )
    async with aclosing(watch(SHOP, None)) as messages:
        await anext(messages)
        with pytest.raises(StorageUnavailable):
            await anext(messages)


async def test_a_change_by_this_replica_is_delivered_without_a_poll(
    world: CatalogWorld, database_url: str
) -> None:
    followers = Followers(world, checkpoint_every=timedelta(hours=1))
    followers.hub = ItemFeedHub(ItemFeedStore(Database(world.engine)), poll_interval=timedelta(hours=1))
    await world.sync(MemorySource([product("1")]))
    watch = WatchItems(
        read=world.reader(),
        feeds=ItemFeedStore(Database(world.engine)),
        hub=followers.hub,
        drain=followers.drain,
    )
    shop = await world.shops.find(SHOP)
    assert shop is not None
    async with polling(followers), aclosing(watch(SHOP, None)) as messages:
        await anext(messages)
        waiting = asyncio.ensure_future(anext(messages))
        await world.sync(MemorySource([product("1", title="Changed")]))
        followers.hub.announce(shop.shop_id)
        assert [item.product_title for item in (await within_timeout(waiting)).page.items] == ["Changed"]
