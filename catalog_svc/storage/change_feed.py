"""The change feed as it is stored: pages of events with the shops and syncs that they are about.

Events are found across shops by functions, which return ids and numbers; the rows of these shops and syncs are
then read under row-level security, in the same database snapshot.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.change_feed import (
    ChangeCursor,
    ChangedShop,
    ChangedSync,
    ChangeFeed,
    ChangeFilter,
    ChangeKind,
    ChangePage,
    ChangeRecord,
    SnapshotCursor,
)
from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.domain.status import ShopFilter
from catalog_svc.domain.sync import Sync, SyncPosition, SyncState
from catalog_svc.storage.database import Database
from catalog_svc.storage.shops import ShopStore, load_shops
from catalog_svc.storage.syncs import SyncStore, find_syncs
from catalog_svc.storage.tenant import each_visible

_ACTIVE: Final = (SyncState.PENDING, SyncState.RUNNING)
_SYNCS_PER_PAGE: Final = 200
"""A message with so many syncs is below 1 MiB; only many long notes make it larger."""

_SELECT_STATE = text("SELECT incarnation, floor, last_xid, horizon, delay FROM change_feed_state()")

_SELECT_EVENTS = text("""
    SELECT shop_id, xid, sync_id, feed_position, created_at
    FROM change_events(CAST(:xid AS bigint), CAST(:limit AS integer)) ORDER BY xid, shop_id, number""")

_FIND_SHOPS = text("""
    SELECT * FROM shop_page(
        CAST(:after AS uuid), CAST(:merchant_id AS text), CAST('' AS text), CAST('' AS text),
        CAST(:domain AS text), CAST(:limit AS integer)) AS shop_id""")

_SELECT_HEADS = text("SELECT shop_id, feed_position FROM feed_heads(CAST(:shop_ids AS uuid[]))")

_SELECT_DELETED = text("""
    SELECT shop_id, platform, domain, merchant_id FROM shop_deletion WHERE shop_id = ANY(:shop_ids)""")


class ChangeFeedStore:
    """The change feed of all shops."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._shops = ShopStore(database)
        self._syncs = SyncStore(database)

    async def end(self) -> ChangeCursor:
        """Return the cursor of a consumer that has read all events."""
        return (await self._database.read(_state)).end

    async def start(self) -> ChangeCursor:
        """Return the cursor of a consumer that has read nothing."""
        return (await self._database.read(_state)).start

    async def events(self, after: ChangeCursor, *, limit: int, which: ChangeFilter | None = None) -> ChangePage:
        """Return the records of about `limit` events after the cursor, from one database snapshot.

        Args:
            after: Where the consumer continues; its snapshot was read.
            limit: Number of events after which the page ends, with the events of the last transaction.
            which: The records to return; None: all.

        Raises:
            ChangePositionExpired: Events after the cursor may have been purged, or it is of another database.
        """

        async def read(connection: AsyncConnection) -> ChangePage:
            feed = await _state(connection)
            feed.check(after)
            rows = (await connection.execute(_SELECT_EVENTS, {"xid": after.xid, "limit": limit})).all()
            return ChangePage(
                records=await _records(connection, rows, which),
                begin=after,
                cursor=replace(after, xid=rows[-1].xid + 1) if rows else after,
                caught_up=len(rows) < limit,
                delay=feed.delay,
            )

        return await self._database.read(read)

    async def snapshot(self, after: ChangeCursor, *, limit: int, which: ChangeFilter) -> ChangePage:
        """Return a page of the snapshot: shops that have items, by id, or active syncs, the newest first.

        Args:
            after: Where the consumer continues; its snapshot was not read yet.
            limit: Maximum number of shops that are read; of syncs at most 200 are.
            which: The records to return.
        """
        assert after.snapshot is not None
        if which.kind is ChangeKind.SHOPS:
            records, following = await self._shops_of(after, after.snapshot, limit, which)
        else:
            records, following = await self._syncs_of(after, after.snapshot, min(limit, _SYNCS_PER_PAGE), which)
        return ChangePage(records=records, begin=after, cursor=replace(after, snapshot=following), caught_up=False)

    async def _shops_of(
        self, after: ChangeCursor, snapshot: SnapshotCursor, limit: int, which: ChangeFilter
    ) -> tuple[list[ChangeRecord], SnapshotCursor | None]:
        values = {"after": snapshot.shop_id or UUID(int=0), "limit": limit}
        values |= {"merchant_id": which.merchant_id, "domain": which.domain}

        async def read(connection: AsyncConnection) -> tuple[list[ChangeRecord], SnapshotCursor | None]:
            ids = list((await connection.execute(_FIND_SHOPS, values)).scalars())
            shops: dict[UUID, Shop] = {}
            async for some in each_visible(connection, ids):
                shops |= await load_shops(connection, some)
            heads = (await connection.execute(_SELECT_HEADS, {"shop_ids": ids})).all()
            found = {row.shop_id: row.feed_position for row in heads if row.feed_position and row.shop_id in shops}
            records: list[ChangeRecord] = [
                ChangedShop(xid=after.xid, shop=shops[shop_id], feed_position=found[shop_id], recorded_at=None)
                for shop_id in ids
                if shop_id in found and which.matches_shop(shops[shop_id])
            ]
            return records, SnapshotCursor(shop_id=ids[-1]) if len(ids) == limit else None

        return await self._database.read(read)

    async def _syncs_of(
        self, after: ChangeCursor, snapshot: SnapshotCursor, limit: int, which: ChangeFilter
    ) -> tuple[list[ChangeRecord], SnapshotCursor | None]:
        shop = await self._shops.find(which.shop_id) if which.shop_id else None
        if which.shop_id and shop is None:
            return [], None
        of = ShopFilter(merchant_id=which.merchant_id, domain=which.domain)
        syncs = await self._syncs.page(shop=shop, states=_ACTIVE, before=snapshot.sync, limit=limit, of=of)
        records: list[ChangeRecord] = [
            ChangedSync(xid=after.xid, shop=sync.shop, sync_id=sync.sync_id, sync=sync)
            for sync in syncs
            if which.matches_shop(sync.shop)
        ]
        if len(syncs) < limit:
            return records, None
        last = SyncPosition(created_at=syncs[-1].created_at, sync_id=syncs[-1].sync_id)
        return records, SnapshotCursor(sync=last)


async def _state(connection: AsyncConnection) -> ChangeFeed:
    row = (await connection.execute(_SELECT_STATE)).one()
    return ChangeFeed(
        incarnation=row.incarnation,
        floor=row.floor,
        last_xid=row.last_xid,
        horizon=row.horizon,
        delay=row.delay or timedelta(),
    )


@dataclass(frozen=True, slots=True)
class _Owners:
    """The shops that events are about."""

    registered: Mapping[UUID, Shop]
    deleted: Mapping[UUID, Shop]

    def find(self, shop_id: UUID) -> Shop:
        """Return the shop; without a name if the report of its deletion was purged."""
        found = self.registered.get(shop_id) or self.deleted.get(shop_id)
        return found or Shop(shop_id=shop_id, key=ShopKey("", ""))


async def _records(
    connection: AsyncConnection, rows: Sequence[Row[Any]], which: ChangeFilter | None
) -> list[ChangeRecord]:
    """Return the records of events, in their order: of each sync, and of each deleted shop, the last one only."""
    if which is not None and which.shop_id is not None:
        rows = [row for row in rows if row.shop_id == which.shop_id]
    owners = await _load_owners(connection, {row.shop_id for row in rows})
    last: dict[object, ChangeRecord] = {}
    for row in rows:
        deleted = row.shop_id not in owners.registered
        record = _to_record(row, owners.find(row.shop_id), deleted=deleted)
        if which is None or which.matches(record):
            # Each change of items is a record of its own.
            key: object = row.shop_id if deleted else row.sync_id or object()
            last.pop(key, None)
            last[key] = record
    wanted = [record.sync_id for record in last.values() if isinstance(record, ChangedSync)]
    syncs = {sync.sync_id: sync for sync in await find_syncs(connection, wanted, skip_undecodable=True)}
    return [_with_sync(record, syncs) for record in last.values()]


async def _load_owners(connection: AsyncConnection, shop_ids: Collection[UUID]) -> _Owners:
    registered: dict[UUID, Shop] = {}
    deleted: dict[UUID, Shop] = {}
    async for some in each_visible(connection, shop_ids):
        registered |= await load_shops(connection, some)
        missing = [shop_id for shop_id in some if shop_id not in registered]
        for row in (await connection.execute(_SELECT_DELETED, {"shop_ids": missing})).all() if missing else ():
            key = ShopKey(row.platform, row.domain)
            deleted[row.shop_id] = Shop(shop_id=row.shop_id, key=key, merchant_id=row.merchant_id)
    return _Owners(registered, deleted)


def _to_record(row: Row[Any], shop: Shop, *, deleted: bool) -> ChangeRecord:
    if row.sync_id is not None and not deleted:
        return ChangedSync(xid=row.xid, shop=shop, sync_id=row.sync_id, sync=None)
    return ChangedShop(
        xid=row.xid,
        shop=shop,
        feed_position=row.feed_position,
        recorded_at=row.created_at,
        deleted=deleted,
    )


def _with_sync(record: ChangeRecord, syncs: Mapping[UUID, Sync]) -> ChangeRecord:
    return replace(record, sync=syncs.get(record.sync_id)) if isinstance(record, ChangedSync) else record
