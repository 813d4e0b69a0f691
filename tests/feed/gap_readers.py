"""The readers of the gap experiment: followers of the feeds, and the control that reads by a sequence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Generic, Protocol, TypeVar

import asyncpg
import grpc
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_common.status import read_failure

from tests.feed.pauses import pause

Change = tuple[str, str, int]
"""Shop, item and position: a transaction has changed the item."""
Batch = tuple[str, int]
"""Shop and position: a transaction has changed items of the shop."""

JOURNAL: Final = """
    CREATE TABLE gap_journal (
        number bigserial PRIMARY KEY, shop_id uuid NOT NULL, item_id text NOT NULL, feed_position bigint NOT NULL);
    CREATE FUNCTION gap_record() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
        INSERT INTO public.gap_journal (shop_id, item_id, feed_position)
        SELECT shop_id, item_id, feed_position FROM changed;
        RETURN NULL;
    END $$;
    CREATE TRIGGER gap_record_insert AFTER INSERT ON item REFERENCING NEW TABLE AS changed
        FOR EACH STATEMENT EXECUTE FUNCTION gap_record();
    CREATE TRIGGER gap_record_update AFTER UPDATE ON item REFERENCING NEW TABLE AS changed
        FOR EACH STATEMENT EXECUTE FUNCTION gap_record();"""
"""Each change of an item, numbered by a sequence in the transaction that makes it: what the control reads, and
what the followers must have read."""

_AFTER_NUMBER: Final = "SELECT number FROM gap_journal WHERE number > $1 ORDER BY number"


class _Message(Protocol):
    @property
    def position(self) -> str: ...
    @property
    def caught_up(self) -> bool: ...


R = TypeVar("R")
M = TypeVar("M", bound=_Message)


class Follower(ABC, Generic[R, M]):
    """Follows a stream of one replica, and continues after its last position when the stream ends."""

    def __init__(self, name: str, stub: CatalogServiceStub) -> None:
        self.name = name
        self.caught_up_count = 0
        """Messages that said that the follower has everything."""
        self.reconnect_count = 0
        self.violations: list[str] = []
        self._stub = stub
        self._position = ""

    @abstractmethod
    def _open(self, position: str) -> grpc.aio.UnaryStreamCall[R, M]: ...

    @abstractmethod
    def _store(self, message: M) -> None: ...

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            call = self._open(self._position)
            try:
                async for message in call:
                    self._store(message)
                    self._position = message.position
                    self.caught_up_count += message.caught_up
            except grpc.aio.AioRpcError as error:
                failure = await read_failure(error, call)
                if not failure.is_transient:
                    # No position may expire: nothing is purged, and the server was not restored.
                    self.violations.append(f"{self.name}: {failure.reason} {failure.message}")
            finally:
                call.cancel()
            self.reconnect_count += 1
            await pause(0.05, 0.3)


class ItemsFollower(Follower[pb.WatchItemsRequest, pb.WatchItemsResponse]):
    """Mirrors a shop by WatchItems."""

    def __init__(self, name: str, stub: CatalogServiceStub, shop_id: str) -> None:
        super().__init__(name, stub)
        self.shop_id = shop_id
        self.items: dict[str, pb.Item] = {}
        """By id, deleted ones included."""

    def _open(self, position: str) -> grpc.aio.UnaryStreamCall[pb.WatchItemsRequest, pb.WatchItemsResponse]:
        request = pb.WatchItemsRequest(shop=pb.ShopRef(shop_id=self.shop_id), after_position=position)
        return self._stub.WatchItems(request)

    def _store(self, message: pb.WatchItemsResponse) -> None:
        for item in message.items:
            before = self.items.get(item.item_id)
            if before is not None and item.feed_position < before.feed_position:
                self.violations.append(
                    f"{self.name}: {item.item_id} went from {before.feed_position} to {item.feed_position}"
                )
            self.items[item.item_id] = item

    def has(self, change: Change) -> bool:
        """Return whether the change, or a later one of the same item, was read."""
        _, item_id, position = change
        found = self.items.get(item_id)
        return found is not None and found.feed_position >= position


class ChangesFollower(Follower[pb.WatchChangesRequest, pb.WatchChangesResponse]):
    """Keeps the changes of all shops, by WatchChanges."""

    def __init__(self, name: str, stub: CatalogServiceStub) -> None:
        super().__init__(name, stub)
        self.batches: set[Batch] = set()

    def _open(self, position: str) -> grpc.aio.UnaryStreamCall[pb.WatchChangesRequest, pb.WatchChangesResponse]:
        return self._stub.WatchChanges(pb.WatchChangesRequest(after_position=position))

    def _store(self, message: pb.WatchChangesResponse) -> None:
        self.batches |= {(change.shop_id, change.feed_position) for change in message.changes}


class NumberReader:
    """The control: reads the journal by its sequence."""

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]]) -> None:
        self.numbers: set[int] = set()
        self._connect = connect
        self.last = 0

    async def run(self) -> None:
        """Read every 20 ms or so until cancelled."""
        while True:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection = await self._connect()
                try:
                    while True:
                        await self.read(connection)
                        await pause(0.01, 0.03)
                finally:
                    connection.terminate()
            await pause(0.05, 0.3)

    async def read(self, connection: asyncpg.Connection) -> None:
        """Read everything after the last number."""
        for row in await connection.fetch(_AFTER_NUMBER, self.last):
            self.numbers.add(row["number"])
            self.last = row["number"]
