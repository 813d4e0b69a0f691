"""Tenant isolation: without any filter of the application, the database still shows a transaction its shops alone.

The filters are removed by mutation: an event of the engine replaces each condition that compares `shop_id` with a
parameter. The control runs the same reads as the owner of the tables, whom row-level security does not bind: there
they must see, or stumble over, the rows of the other shop.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, MultipleResultsFound
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from catalog_svc.domain.analysis import AnalysisFilter, AnalysisState
from catalog_svc.domain.catalog_reads import ItemFilter, ProductFilter
from catalog_svc.domain.change_feed import ChangeFilter, ChangeKind, ChangeRecord
from catalog_svc.domain.ids import new_shop_id
from catalog_svc.domain.item_feed import FeedPage
from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.domain.shop import ShopChange, ShopField
from catalog_svc.domain.status import ShopFilter
from catalog_svc.storage.analyses import AnalysisStore
from catalog_svc.storage.change_feed import ChangeFeedStore
from catalog_svc.storage.database import Database
from catalog_svc.storage.item_feed import ItemFeedStore
from catalog_svc.storage.items import ItemStore
from catalog_svc.storage.product_reads import ProductStore
from catalog_svc.storage.roles import TENANT_TABLES
from catalog_svc.storage.shop_deletions import ShopDeletionStore
from catalog_svc.storage.shop_directory import ShopDirectoryStore
from catalog_svc.storage.shops import ShopStore
from catalog_svc.storage.status import StatusStore
from catalog_svc.storage.syncs import IssueStore, SyncStore
from catalog_svc.storage.tenant import enter_shops
from tests.integration.catalog_svc.analyzing import ANALYZER
from tests.security.stored_shops import KEYS, StoredShop, TwoShops

DEFAULTS: Final = ScheduleDefaults()
_PARAMETER: Final = r"(?:CAST\()?(\$\d+)(?:::\w+(?:\[\])?)?(?: AS uuid\))?"
_FILTERS: Final = (
    (re.compile(rf"(?:\w+\.)?shop_id = {_PARAMETER}"), r"(CAST(\1 AS uuid) IS NOT NULL)"),
    (re.compile(rf"(?:\w+\.)?shop_id = ANY\({_PARAMETER}\)"), r"(CAST(\1 AS uuid[]) IS NOT NULL)"),
)
"""Conditions, and what replaces them: true, with the parameter still in use."""
MIN_MUTATED: Final = 25
"""Executions of statements whose filters were removed."""
MIN_FOREIGN: Final = 8
"""Reads that see the other shop in the control."""

Read = Callable[[], Awaitable[object]]


@contextmanager
def without_filters(engine: AsyncEngine) -> Iterator[list[str]]:
    """Remove the application's filters by shop from all statements of the engine; yield the mutated statements."""
    mutated: list[str] = []

    def mutate(_connection: Any, _cursor: Any, sql: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        changed = sql
        for pattern, replacement in _FILTERS:
            changed = pattern.sub(replacement, changed)
        if changed != sql:
            mutated.append(changed)
        return changed, parameters

    event.listen(engine.sync_engine, "before_cursor_execute", mutate, retval=True)
    try:
        yield mutated
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", mutate)


def reads_of(engine: AsyncEngine, stored: StoredShop, merchant: str) -> Mapping[str, Read]:
    """Return every read of a store that a call about this shop makes."""
    database, shop, key = Database(engine, attempts=1), stored.shop, KEYS[merchant]
    shops, directory = ShopStore(database), ShopDirectoryStore(database)
    deletions = ShopDeletionStore(database, owner=shop.shop_id)
    syncs, issues = SyncStore(database), IssueStore(database)
    items, products = ItemStore(database), ProductStore(database)
    few_items, few_products = ItemStore(database, text_window=1), ProductStore(database, text_window=1)
    feeds, changes = ItemFeedStore(database), ChangeFeedStore(database)
    analyses = AnalysisStore(database)
    states = (AnalysisState.ANALYZED, AnalysisState.PENDING, AnalysisState.FAILED)
    analysis_filters = [AnalysisFilter(analyzer=ANALYZER, state=state) for state in states]
    own, sync_id = ShopFilter(merchant_id=merchant), stored.finished.sync_id
    rare = ProductFilter(text="of m", include_deleted=True)

    def list_items(which: ItemFilter, store: ItemStore = items) -> Read:
        return lambda: store.page(shop, which, after=None, limit=100)

    def list_analyses(which: AnalysisFilter) -> Read:
        return lambda: analyses.page(shop, which, after=None, limit=100)

    async def list_changes() -> FeedPage:
        snapshot = await feeds.page(shop, None, limit=100)
        return await feeds.page(shop, replace(snapshot.begin, snapshot_position=None), limit=100)

    async def list_events(kind: ChangeKind) -> Sequence[ChangeRecord]:
        begin = replace(await changes.end(), xid=1)
        return (
            await changes.events(begin, limit=100, which=ChangeFilter(kind=kind, merchant_id=merchant))
        ).records

    async def list_snapshot(kind: ChangeKind) -> Sequence[ChangeRecord]:
        which = ChangeFilter(kind=kind, merchant_id=merchant)
        records = (await changes.snapshot(await changes.start(), limit=100, which=which)).records
        return [replace(record, xid=0) for record in records]

    lists = {
        f"items.page({which})": list_items(which)
        for which in (
            *(ItemFilter(), ItemFilter(sku="S"), ItemFilter(product_id="1"), ItemFilter(after_position=1)),
            ItemFilter(analysis_state=AnalysisState.PENDING),
        )
    }
    return lists | {
        "shops.find(key)": lambda: shops.find(key),
        "shops.find(id)": lambda: shops.find(shop.shop_id),
        "directory.get": lambda: directory.get(key, DEFAULTS, same_store_of=own),
        "directory.page": lambda: directory.page(own, after=None, limit=100, defaults=DEFAULTS, same_store_of=own),
        "deletions.find": lambda: deletions.find(shop.shop_id),
        "syncs.get": lambda: syncs.get(sync_id),
        "syncs.get_many": lambda: syncs.get_many([sync_id, stored.pending.sync_id]),
        "syncs.latest": lambda: syncs.latest(shop),
        "syncs.checkpoint": lambda: syncs.checkpoint(sync_id),
        "syncs.page(shop)": lambda: syncs.page(shop=shop, states=[], before=None, limit=100),
        "syncs.page(merchant)": lambda: syncs.page(shop=None, states=[], before=None, limit=100, of=own),
        "issues.page": lambda: issues.page(sync_id, after=0, limit=100),
        "items.get": lambda: items.get(shop, "1-1"),
        "feed.page": lambda: feeds.page(shop, None, limit=100),
        "feed.page(changes)": list_changes,
        **{f"changes.events({kind})": partial(list_events, kind) for kind in ChangeKind},
        **{f"changes.snapshot({kind})": partial(list_snapshot, kind) for kind in ChangeKind},
        "items.page(text)": list_items(ItemFilter(text="Shirt")),
        "items.page(rare text)": list_items(ItemFilter(text="of m"), few_items),
        "products.get": lambda: products.get(shop, "1"),
        "products.page": lambda: products.page(shop, ProductFilter(), after="", limit=100),
        "products.page(rare text)": lambda: few_products.page(shop, rare, after="", limit=100),
        "analyses.of_item": lambda: analyses.of_item(shop, "0-1"),
        **{f"analyses.page({which.state})": list_analyses(which) for which in analysis_filters},
        "analyses.dead": lambda: analyses.dead(shop, "", after=None, limit=100),
        "analyses.dead(analyzer)": lambda: analyses.dead(shop, ANALYZER, after=None, limit=100),
        "status": lambda: StatusStore(database).get(shop, DEFAULTS),
    }


async def outcome(read: Read) -> str:
    """Return what a read returns, as text; or that it cannot cope with more rows than one."""
    try:
        return repr(await read())
    except (MultipleResultsFound, KeyError) as error:
        return repr(error)


async def test_without_its_own_filters_the_application_sees_its_shop_alone(two_shops: TwoShops) -> None:
    reads = reads_of(two_shops.engine, two_shops.a, "merchant-a")
    expected = {name: await outcome(read) for name, read in reads.items()}
    assert {name for name, result in expected.items() if result in ("None", "[]")} == set()
    with without_filters(two_shops.engine) as mutated:
        found = {name: await outcome(read) for name, read in reads.items()}
    assert found == expected
    assert {name for name, result in found.items() if "merchant-b" in result} == set()
    assert len(mutated) >= MIN_MUTATED


async def test_without_row_level_security_the_same_reads_see_the_other_shop(two_shops: TwoShops) -> None:
    """The control: the mutation does remove the filters, and nothing else keeps the rows apart."""
    reads = reads_of(two_shops.owner, two_shops.a, "merchant-a")
    expected = {name: await outcome(read) for name, read in reads.items()}
    with without_filters(two_shops.owner) as mutated:
        found = {name: await outcome(read) for name, read in reads.items()}
    foreign = {name for name in reads if found[name] != expected[name]}
    assert len(mutated) >= MIN_MUTATED
    assert len(foreign) >= MIN_FOREIGN, sorted(set(reads) - foreign)


async def test_a_transaction_without_shops_sees_no_row_of_any_table(two_shops: TwoShops) -> None:
    async def counts(connection: AsyncConnection) -> dict[str, int]:
        return {
            table: (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()
            for table in TENANT_TABLES
        }

    database = Database(two_shops.engine)
    assert await database.read(counts) == dict.fromkeys(TENANT_TABLES, 0)
    everything = await Database(two_shops.owner).read(counts)
    assert {table for table, count in everything.items() if count < 2} == set()
    of_a = await database.read(counts, shops=[two_shops.a.shop.shop_id])
    assert all(0 < count < everything[table] for table, count in of_a.items())


@pytest.mark.parametrize("table", TENANT_TABLES)
async def test_rows_of_another_shop_can_be_neither_inserted_nor_changed(two_shops: TwoShops, table: str) -> None:
    a, b = two_shops.a.shop.shop_id, two_shops.b.shop.shop_id
    database = Database(two_shops.engine, attempts=1)

    def changes(statement: str) -> Callable[[AsyncConnection], Awaitable[int]]:
        async def work(connection: AsyncConnection) -> int:
            values = {name: id_ for name, id_ in (("a", a), ("b", b)) if f":{name}" in statement}
            return (await connection.execute(text(statement), values)).rowcount

        return work

    for statement in (f"UPDATE {table} SET shop_id = shop_id", f"DELETE FROM {table}"):
        assert await database.write(changes(f"{statement} WHERE shop_id = :b"), shops=[a]) == 0
    # Neither a row of the other shop nor one that moves there.
    columns = ", ".join(await insertable(two_shops.owner, table))
    for statement in (
        f"INSERT INTO {table} (shop_id, {columns}) SELECT :b, {columns} FROM {table} WHERE shop_id = :a",
        f"UPDATE {table} SET shop_id = :b WHERE shop_id = :a",
    ):
        with pytest.raises(DBAPIError, match="violates row-level security policy"):
            await database.write(changes(statement), shops=[a])


async def insertable(owner: AsyncEngine, table: str) -> list[str]:
    """Return the columns that an INSERT may name, without shop_id."""
    async with owner.connect() as connection:
        query = text("""
            SELECT quote_ident(attname) FROM pg_attribute
            WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 AND NOT attisdropped
              AND attgenerated = '' AND attidentity = '' AND attname <> 'shop_id'""")
        return list((await connection.execute(query, {"table": table})).scalars())


async def test_an_authorized_shop_limits_whatever_the_stores_ask_for(two_shops: TwoShops) -> None:
    a, b = two_shops.a.shop.shop_id, two_shops.b.shop.shop_id
    database = Database(two_shops.engine, allowed_shop=lambda: a)
    syncs, shops = SyncStore(database), ShopStore(database)
    assert await shops.find(two_shops.b.shop.key) is None
    assert await shops.find(b) is None
    assert await syncs.get_many([two_shops.b.pending.sync_id]) == []
    page = await syncs.page(shop=None, states=[], before=None, limit=100)
    assert {sync.shop.shop_id for sync in page} == {a}

    async def enter(connection: AsyncConnection) -> set[object]:
        await enter_shops(connection, [b, new_shop_id()])
        return set((await connection.execute(text("SELECT DISTINCT shop_id FROM sync"))).scalars())

    assert await database.read(enter, shops=[b]) == {a}


async def test_lists_over_all_shops_can_be_limited_to_a_merchant_or_a_domain(two_shops: TwoShops) -> None:
    database, a = Database(two_shops.engine), two_shops.a.shop
    for which in (ShopFilter(merchant_id="merchant-a"), ShopFilter(domain=a.key.domain)):
        shops = await ShopDirectoryStore(database).page(
            which, after=None, limit=9, defaults=DEFAULTS, same_store_of=which
        )
        # The other shop is the same store of the platform, which this caller must not learn.
        assert [(one.shop.shop_id, one.same_store_shop_ids) for one in shops] == [(a.shop_id, ())]
        for states in ([], [two_shops.a.pending.state]):
            syncs = await SyncStore(database).page(shop=None, states=states, before=None, limit=9, of=which)
            assert {sync.shop.shop_id for sync in syncs} == {a.shop_id}
    everything = await ShopDirectoryStore(database).page(ShopFilter(), after=None, limit=9, defaults=DEFAULTS)
    assert [one.same_store_shop_ids for one in everything] == [
        (two_shops.b.shop.shop_id,),
        (two_shops.a.shop.shop_id,),
    ]


async def test_a_change_of_a_shop_needs_no_filter_of_its_own(two_shops: TwoShops) -> None:
    """A write whose filters are removed changes the rows of its shop alone."""
    change = ShopChange(fields=frozenset({ShopField.DISPLAY_NAME}), display_name="renamed")
    directory = ShopDirectoryStore(Database(two_shops.engine))
    with without_filters(two_shops.engine) as mutated:
        await directory.update(two_shops.a.shop, change, DEFAULTS)
    assert mutated
    async with two_shops.owner.connect() as connection:
        names = await connection.execute(text("SELECT caller_name FROM shop ORDER BY domain"))
        assert list(names.scalars()) == ["renamed", "merchant-b"]
