"""WatchChanges and WatchSyncs over gRPC: snapshot, changes, positions, and what each kind of caller sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import grpc
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_common.drain import Drain
from catalogsync_common.status import read_failure
from catalogsync_common.token_minting import SigningKey, mint_client_token
from pydantic import SecretStr

from catalog_svc.domain.change_feed import ChangeCursor, ChangeFilter, ChangeKind
from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.domain.shop import ShopKey
from catalog_svc.metrics import NullDeliveryMetrics
from catalog_svc.rpc.change_feed import change_messages, encode_position
from catalog_svc.storage.change_feed import ChangeFeedStore
from catalog_svc.storage.database import Database
from catalog_svc.storage.shop_directory import ShopDirectoryStore
from catalog_svc.usecases.change_hub import ChangeHub
from catalog_svc.usecases.stream_lifetime import ReconnectReason
from catalog_svc.usecases.watch_changes import ChangeMessage, WatchChanges
from catalog_svc.usecases.watch_items import FeedStreamLimits
from tests.fakes.product_source import MemorySource, product
from tests.integration.catalog_svc.catalog_server import service
from tests.integration.catalog_svc.change_reader import ShopWriter
from tests.integration.catalog_svc.conftest import SHOP, CatalogWorld
from tests.waiting import until, within_timeout

OTHER = ShopKey("shopify", "other.myshopify.com")
CLIENT_KEY: Final = SigningKey.parse("c1:" + "k" * 48)
SERVICE_SECRET: Final = "bff:" + "s" * 48
Metadata = tuple[tuple[str, str], ...]
AS_SERVICE: Final[Metadata] = (("x-service-secret", SERVICE_SECRET),)


def as_client(*, domain: str = "", merchant_id: str = "") -> Metadata:
    """Return the metadata of a client of a domain or a merchant."""
    token = mint_client_token(
        CLIENT_KEY, issuer="bff", scopes=["catalog:read"], domain=domain, merchant_id=merchant_id
    )
    return (("authorization", f"Bearer {token}"),)


@asynccontextmanager
async def authenticated_service(database_url: str) -> AsyncIterator[Any]:
    async with service(
        database_url,
        client_keys=SecretStr(f"{CLIENT_KEY.kid}:{CLIENT_KEY.key}"),
        client_issuer="bff",
        service_secrets=SecretStr(SERVICE_SECRET),
    ) as stub:
        yield stub


class Stream:
    """A call that streams messages; what they hold is kept."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.last: Any = None
        """The last message."""
        self.changes: list[pb.ChangedShop] = []
        self.syncs: list[pb.Sync] = []
        self.deleted_shop_ids: list[str] = []

    async def _read(self) -> Any:
        message = await self.call.read()
        assert message is not grpc.aio.EOF
        self.last = message
        self.changes += getattr(message, "changes", ())
        self.syncs += getattr(message, "syncs", ())
        self.deleted_shop_ids += getattr(message, "deleted_shop_ids", ())
        return message

    async def until(self, condition: Any) -> None:
        """Read messages until the condition is true. Checkpoints come for ever."""

        async def read() -> None:
            while not condition():
                await self._read()

        await within_timeout(read())

    async def until_caught_up(self) -> None:
        """Read the snapshot."""
        await self.until(lambda: self.last is not None and self.last.caught_up)

    async def failure(self) -> Any:
        """Return the failure with which the call ends."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await within_timeout(self._read_to_end())
        return await read_failure(caught.value, self.call)

    async def _read_to_end(self) -> None:
        while await self.call.read() is not grpc.aio.EOF:
            pass


def states(syncs: Iterable[pb.Sync]) -> list[str]:
    return [pb.Sync.State.Name(sync.state).removeprefix("STATE_") for sync in syncs]


async def test_a_client_of_many_shops_gets_all_shops_then_each_change_and_continues(
    world: CatalogWorld, database_url: str
) -> None:
    await world.sync(MemorySource([product("1")]))
    shop = await world.shops.find(SHOP)
    assert shop is not None
    async with service(database_url) as stub:
        stream = Stream(stub.WatchChanges(pb.WatchChangesRequest()))
        await stream.until_caught_up()
        (first,) = stream.changes
        assert (first.shop_id, first.platform, first.domain) == (str(shop.shop_id), SHOP.platform, SHOP.domain)
        assert (first.feed_position, first.HasField("record_time"), first.deleted) == (1, False, False)
        position = stream.last.position
        await world.sync(MemorySource([product("1", title="Changed")]))
        writer = await ShopWriter.begin(world, OTHER)
        await writer.store()
        await stream.until(lambda: len(stream.changes) == 3)
        assert [(one.domain, one.feed_position) for one in stream.changes[1:]] == [
            (SHOP.domain, 2),
            (OTHER.domain, 1),
        ]
        assert stream.changes[1].HasField("record_time")
        stream.call.cancel()
        again = Stream(stub.WatchChanges(pb.WatchChangesRequest(after_position=position)))
        await again.until(lambda: again.changes == stream.changes[1:])
        again.call.cancel()


async def test_a_follower_of_syncs_gets_those_that_are_active_then_each_new_state(
    world: CatalogWorld, database_url: str
) -> None:
    created = await world.create_sync()
    ended = await world.create_sync(OTHER)
    await world.commands.cancel(ended.sync_id)
    async with service(database_url) as stub:
        stream = Stream(stub.WatchSyncs(pb.WatchSyncsRequest()))
        await stream.until_caught_up()
        assert {sync.sync_id for sync in stream.syncs} == {str(created.sync_id)}
        position = stream.last.position
        await stub.CancelSync(pb.CancelSyncRequest(sync_id=str(created.sync_id)))
        await stream.until(lambda: states(stream.syncs)[-1] == "CANCELLED")
        assert stream.syncs[-1].HasField("end_time")
        stream.call.cancel()
        again = Stream(stub.WatchSyncs(pb.WatchSyncsRequest(after_position=position)))
        await again.until(lambda: states(again.syncs) and states(again.syncs)[-1] == "CANCELLED")
        again.call.cancel()


async def test_a_follower_learns_that_a_shop_is_deleted(world: CatalogWorld, database_url: str) -> None:
    writer = await ShopWriter.begin(world, SHOP)
    await writer.store()
    await writer.end()
    shop_id = str(writer.shop.shop_id)
    async with service(database_url) as stub:
        changes = Stream(stub.WatchChanges(pb.WatchChangesRequest()))
        syncs = Stream(stub.WatchSyncs(pb.WatchSyncsRequest()))
        for stream in (changes, syncs):
            await stream.until_caught_up()
        await stub.DeleteShop(pb.DeleteShopRequest(shop=pb.ShopRef(shop_id=shop_id)))
        await changes.until(lambda: changes.changes[-1].deleted)
        assert (changes.changes[-1].shop_id, changes.changes[-1].domain) == (shop_id, SHOP.domain)
        await syncs.until(lambda: syncs.deleted_shop_ids)
        assert set(syncs.deleted_shop_ids) == {shop_id}
        for stream in (changes, syncs):
            stream.call.cancel()


class TestAccess:
    """A client sees its own shops only; services see all."""

    async def _shops(self, world: CatalogWorld) -> dict[str, UUID]:
        """Register shops of two merchants with an active sync each, and return the ids of the syncs by domain."""
        directory = ShopDirectoryStore(Database(world.engine))
        keys = {SHOP: "acme", OTHER: "rival"}
        for key, merchant in keys.items():
            await directory.register(key, merchant_id=merchant, caller_name="", defaults=ScheduleDefaults())
        return {key.domain: (await world.create_sync(key)).sync_id for key in keys}

    async def test_a_client_gets_the_syncs_of_its_own_shops_only(
        self, world: CatalogWorld, database_url: str
    ) -> None:
        syncs = await self._shops(world)
        async with authenticated_service(database_url) as stub:
            request = pb.WatchSyncsRequest()
            own = [
                Stream(stub.WatchSyncs(request, metadata=metadata))
                for metadata in (as_client(domain=SHOP.domain), as_client(merchant_id="acme"))
            ]
            everything = Stream(stub.WatchSyncs(request, metadata=AS_SERVICE))
            for stream in (*own, everything):
                await stream.until_caught_up()
            for domain in (OTHER.domain, SHOP.domain):
                await world.commands.cancel(syncs[domain])
            await everything.until(lambda: states(everything.syncs).count("CANCELLED") == 2)
            for stream in own:
                await stream.until(lambda stream=stream: "CANCELLED" in states(stream.syncs))
                assert {sync.sync_id for sync in stream.syncs} == {str(syncs[SHOP.domain])}
            for stream in (*own, everything):
                stream.call.cancel()
            # Also what a position from another client's stream leads to.
            foreign = encode_position(
                replace(await ChangeFeedStore(Database(world.engine)).end(), xid=1), ChangeKind.SYNCS
            )
            replayed = Stream(
                stub.WatchSyncs(
                    pb.WatchSyncsRequest(after_position=foreign), metadata=as_client(domain=SHOP.domain)
                )
            )
            await replayed.until(lambda: replayed.syncs)
            assert {sync.shop.domain for sync in replayed.syncs} == {SHOP.domain}
            replayed.call.cancel()

    async def test_a_shop_of_another_client_is_not_found(self, world: CatalogWorld, database_url: str) -> None:
        await self._shops(world)
        other = await world.shops.find(OTHER)
        assert other is not None
        async with authenticated_service(database_url) as stub:
            messages = []
            for shop_id in (other.shop_id, UUID(int=other.shop_id.int ^ (1 << 50))):
                request = pb.WatchSyncsRequest(shop=pb.ShopRef(shop_id=str(shop_id)))
                failure = await Stream(stub.WatchSyncs(request, metadata=as_client(domain=SHOP.domain))).failure()
                assert failure.reason == "SHOP_NOT_FOUND"
                messages.append(failure.message.replace(str(shop_id), "ID"))
            # Nothing says which of them exists.
            assert messages[0] == messages[1]
            own = pb.WatchSyncsRequest(shop=pb.ShopRef(platform=SHOP.platform, domain=SHOP.domain))
            stream = Stream(stub.WatchSyncs(own, metadata=as_client(merchant_id="acme")))
            await stream.until_caught_up()
            assert {sync.shop.domain for sync in stream.syncs} == {SHOP.domain}
            stream.call.cancel()

    async def test_a_client_cannot_ask_for_another_merchant_nor_for_changes_of_all_shops(
        self, world: CatalogWorld, database_url: str
    ) -> None:
        await self._shops(world)
        async with authenticated_service(database_url) as stub:
            foreign = pb.WatchSyncsRequest(merchant_id="rival")
            failure = await Stream(stub.WatchSyncs(foreign, metadata=as_client(merchant_id="acme"))).failure()
            assert (failure.reason, "merchant_id" in failure.message) == ("INVALID_REQUEST", True)
            # The client of a domain gets what meets both conditions: nothing.
            nothing = Stream(stub.WatchSyncs(foreign, metadata=as_client(domain=SHOP.domain)))
            await nothing.until_caught_up()
            assert nothing.syncs == []
            nothing.call.cancel()
            changes = stub.WatchChanges(pb.WatchChangesRequest(), metadata=as_client(merchant_id="acme"))
            assert (await Stream(changes).failure()).reason == "PERMISSION_DENIED"

    async def test_a_service_follows_one_merchant(self, world: CatalogWorld, database_url: str) -> None:
        await self._shops(world)
        async with authenticated_service(database_url) as stub:
            request = pb.WatchSyncsRequest(merchant_id="rival")
            stream = Stream(stub.WatchSyncs(request, metadata=AS_SERVICE))
            await stream.until_caught_up()
            # A sync may come twice: with the snapshot, and with an event that the snapshot did not see yet.
            assert {sync.shop.domain for sync in stream.syncs} == {OTHER.domain}
            stream.call.cancel()


async def test_positions_of_the_other_method_and_of_purged_events_are_refused(
    world: CatalogWorld, database_url: str
) -> None:
    await ShopWriter.begin(world, SHOP)
    end = await ChangeFeedStore(Database(world.engine)).end()
    of_syncs, old = encode_position(end, ChangeKind.SYNCS), replace(end, xid=0)
    async with service(database_url) as stub:
        for wrong in (of_syncs, "12", "%"):
            stream = Stream(stub.WatchChanges(pb.WatchChangesRequest(after_position=wrong)))
            failure = await stream.failure()
            assert (failure.reason, "after_position" in failure.message) == ("INVALID_REQUEST", True)
        shops, syncs = (encode_position(old, kind) for kind in ChangeKind)
        for call in (
            stub.WatchChanges(pb.WatchChangesRequest(after_position=shops)),
            stub.WatchSyncs(pb.WatchSyncsRequest(after_position=syncs)),
        ):
            failure = await Stream(call).failure()
            assert (failure.code, failure.reason) == (grpc.StatusCode.OUT_OF_RANGE, "POSITION_EXPIRED")
            assert failure.retry_after is None


class Replica:
    """The use case over PostgreSQL, with short times."""

    def __init__(self, world: CatalogWorld, *, max_age: timedelta = timedelta(minutes=15)) -> None:
        feeds = ChangeFeedStore(Database(world.engine))
        self.hub = ChangeHub(feeds, metrics=self, poll_interval=timedelta(milliseconds=20))
        self.delays: list[timedelta] = []
        self.drain = Drain()
        limits = FeedStreamLimits(page_items=3, checkpoint_every=timedelta(milliseconds=50), max_age=max_age)
        self.watch = WatchChanges(
            feeds=feeds, hub=self.hub, drain=self.drain, metrics=NullDeliveryMetrics(), limits=limits
        )

    def changes_read(self, count: int, *, delay: timedelta) -> None:
        self.delays.append(delay)

    def follow(self, after: ChangeCursor | None = None) -> AsyncGenerator[ChangeMessage, None]:
        return self.watch(ChangeFilter(kind=ChangeKind.SHOPS), after)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.hub.run(self.drain))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_stream_at_its_maximum_age_ends_with_a_reason_and_a_position_within_the_snapshot(
    world: CatalogWorld,
) -> None:
    for number in range(5):
        writer = await ShopWriter.begin(world, ShopKey("shopify", f"s{number}.myshopify.com"))
        await writer.store()
        await writer.end()
    replica = Replica(world, max_age=timedelta(0))
    found: list[str] = []
    cursor: ChangeCursor | None = None
    async with replica.running():
        while len(found) < 5:
            (message,) = [one async for one in replica.follow(cursor)]
            assert message.reconnect is ReconnectReason.STREAM_EXPIRED
            (converted,) = change_messages(message)
            assert converted.reconnect_reason == pb.WatchSyncResponse.RECONNECT_REASON_STREAM_EXPIRED
            found += [change.domain for change in converted.changes]
            cursor = message.page.cursor
    assert len(set(found)) == 5


async def _next_records(messages: AsyncGenerator[ChangeMessage, None]) -> None:
    while not (await anext(messages)).page.records:
        pass


async def test_an_open_transaction_is_seen_in_the_delay(world: CatalogWorld) -> None:
    writer = await ShopWriter.begin(world, SHOP)
    replica = Replica(world)
    async with replica.running(), aclosing(replica.follow()) as messages:
        await anext(messages)
        async with world.owner.connect() as connection:
            await connection.exec_driver_sql("SELECT pg_current_xact_id()")
            await writer.store()
            await until(lambda: replica.delays and replica.delays[-1] > timedelta())
        await within_timeout(_next_records(messages))
        await until(lambda: replica.delays[-1] == timedelta())
