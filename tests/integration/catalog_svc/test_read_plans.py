"""Every list that the API offers reads little more than its page, by an index: no shop and no table as a whole.

The plans are those of a large shop among many small ones. What is compared is the number of rows that PostgreSQL
read, not time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any, Final
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bench.read.rows import (
    COMMON_SKU,
    ITEMS_PER_PRODUCT,
    GeneratedShop,
    analyze,
    generate_shop,
    generate_small_shops,
)
from catalog_svc.domain.catalog_reads import ItemCursor, ItemFilter, ProductFilter
from catalog_svc.domain.change_feed import ChangeFilter, ChangeKind
from catalog_svc.domain.errors import TextSearchUnavailable
from catalog_svc.domain.ids import sync_id_of
from catalog_svc.domain.schedule import ScheduleDefaults
from catalog_svc.domain.shop import Shop, ShopKey
from catalog_svc.domain.status import ConnectionState, ShopFilter
from catalog_svc.domain.sync import SyncPosition, SyncState
from catalog_svc.storage.change_feed import ChangeFeedStore
from catalog_svc.storage.database import Database
from catalog_svc.storage.embedded import service_url
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.item_feed import ItemFeedStore
from catalog_svc.storage.items import ItemStore
from catalog_svc.storage.product_reads import ProductStore
from catalog_svc.storage.retention import RetentionStore
from catalog_svc.storage.schedules import ScheduleStore
from catalog_svc.storage.shop_deletions import ShopDeletionStore
from catalog_svc.storage.shop_directory import ShopDirectoryStore
from catalog_svc.storage.shops import ShopStore
from catalog_svc.storage.status import StatusStore
from catalog_svc.storage.syncs import SyncStore
from catalog_svc.storage.text_search import require_text_search
from tests.conftest import copied_database
from tests.integration.catalog_svc.plans import Plan, explain, recorded

ITEMS: Final = 60_000
SYNCS: Final = 30_000
SMALL_SHOPS: Final = 50_000
EVENTS: Final = 100_000
LIMIT: Final = 100
WINDOW: Final = 2_500
"""Smaller than in production, so that it is a small part of the shop."""
FEW_ROWS: Final = 5 * LIMIT
"""Of the page, its products and its deleted items."""
ROWS_OF_POSITIONS: Final = 8 * 250 * ITEMS_PER_PRODUCT
"""Items of a position are sorted by their id: those of the first and of the last position of a page are all read,
of live and of deleted items, in an index and in the table."""
MATCHES: Final = {"shirt": 0, "No. 7301": 50, "winter": ITEMS // 10 + ITEMS // 100, "zzzqqq": 0, "xxl": 0}
"""By text, the items that the trigram indexes may find: of the frequent texts none is looked up there."""
_DIRECTORY: Final = """
    merchant_id = 'm' || abs(hashtext(domain)) % 500, platform_shop_id = domain,
    connection_state = CASE WHEN domain LIKE '%77.example' THEN 'BROKEN' ELSE 'HEALTHY' END"""
"""Each merchant has a hundred shops."""
_SCHEDULES: Final = """
    planned_full_interval = interval '1 day',
    incremental_due_at = clock_timestamp() - random() * interval '1 day'"""


_GENERATE_EVENTS: Final = f"""
    INSERT INTO change_event (shop_id, number, xid, sync_id, feed_position)
    SELECT shop_id, 1000 + n, n - {EVENTS} - 1, CASE WHEN n % 5 = 0 THEN sync_id END, n
    FROM (SELECT shop_id, row_number() OVER () AS place FROM shop) AS shop
    JOIN generate_series(1, {EVENTS}) AS n ON place = n % 1000 + 1
    LEFT JOIN LATERAL (SELECT sync_id FROM sync WHERE sync.shop_id = shop.shop_id LIMIT 1) AS sync ON true"""
"""Of transactions with ids below those of the server."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shops:
    """A database with one large shop and small ones."""

    engine: AsyncEngine
    """With the role of the service."""
    large: GeneratedShop
    has_text_search: bool

    @property
    def shop(self) -> Shop:
        return Shop(shop_id=self.large.shop_id, key=ShopKey("shopify", self.large.domain))


@pytest.fixture(scope="module")
async def shops(postgres_url: str) -> AsyncIterator[Shops]:
    async with copied_database(postgres_url) as url:
        owner = open_engine(url, pool_size=1, command_timeout=None)
        async with owner.begin() as connection:
            await connection.execute(text("SET LOCAL statement_timeout = 0"))
            for number in range(10):
                await generate_shop(connection, domain=f"a{number}.example", items=500, syncs=20)
            await generate_small_shops(connection, SMALL_SHOPS)
            await connection.execute(text(f"UPDATE shop SET {_DIRECTORY}"))
            await connection.execute(text(f"UPDATE shop_schedule SET {_SCHEDULES}"))
            large = await generate_shop(connection, domain="large.example", items=ITEMS, syncs=SYNCS)
            for number in range(10):
                await generate_shop(connection, domain=f"z{number}.example", items=500, syncs=20)
            await connection.execute(text(_GENERATE_EVENTS))
            await connection.execute(text(f"UPDATE change_feed SET floor = {-2 * EVENTS}"))
        async with owner.connect() as connection:
            await analyze(await connection.execution_options(isolation_level="AUTOCOMMIT"))
        await owner.dispose()
        engine = open_engine(service_url(url), pool_size=1, command_timeout=None)
        yield Shops(engine=engine, large=large, has_text_search=await has_text_search(engine))
        await engine.dispose()


async def has_text_search(engine: AsyncEngine) -> bool:
    async with engine.connect() as connection:
        try:
            await require_text_search(connection)
        except TextSearchUnavailable:
            return False
    return True


async def plans(shops: Shops, call: Awaitable[object]) -> list[Plan]:
    """Return the plans of the statements that a call executes."""
    with recorded(shops.engine) as statements:
        await call
    assert statements
    return [await explain(shops.engine, statement) for statement in statements]


def check(found: list[Plan], *, at_most: int) -> None:
    for plan in found:
        assert plan.rows_read <= at_most, f"{plan.rows_read} rows read by {plan.statement}: {plan.text}"
        assert not plan.full_scans, f"{plan.full_scans}: {plan.statement}: {plan.text}"


ITEM_FILTERS: Final[Mapping[str, Sequence[Mapping[str, Any]]]] = {
    "sku": [{"sku": "SKU-7301-1"}, {"sku": COMMON_SKU}],
    "product_id": [{"product_id": str(7_000_000_007_301)}],
    "text": [{"text": part} for part in MATCHES],
    "after_position": [{"after_position": 1}, {"after_position": ITEMS // ITEMS_PER_PRODUCT // 250 - 2}],
    "include_deleted": [{"include_deleted": True}],
}
"""By filter, values that are easy and hard to find."""


def item_filters() -> Iterator[ItemFilter]:
    """Each filter alone, and each pair."""
    yield ItemFilter()
    for names in [*((name,) for name in ITEM_FILTERS), *combinations(ITEM_FILTERS, 2)]:
        values: list[Mapping[str, Any]] = [{}]
        for name in names:
            values = [{**value, **more} for value in values for more in ITEM_FILTERS[name]]
        yield from (ItemFilter(**value) for value in values)
    for position in ITEM_FILTERS["after_position"]:
        yield ItemFilter(text="shirt", include_deleted=True, **position)


@pytest.mark.parametrize("page", ["first", "middle", "last"])
@pytest.mark.parametrize("which", list(item_filters()), ids=str)
async def test_a_page_of_items_reads_few_rows(shops: Shops, which: ItemFilter, page: str) -> None:
    skip_without_text_search(shops, which.text)
    after = cursor(shops, page, which)
    store = ItemStore(Database(shops.engine), text_window=WINDOW)
    at_most = FEW_ROWS
    if which.after_position:
        at_most += ROWS_OF_POSITIONS
    if which.text:
        at_most += 4 * (WINDOW + MATCHES[which.text])
    check(await plans(shops, store.page(shops.shop, which, after=after, limit=LIMIT + 1)), at_most=at_most)


def cursor(shops: Shops, page: str, which: ItemFilter) -> ItemCursor | None:
    """Return where the middle or the last page of a list begins."""
    if page == "first":
        return None
    number = shops.large.products // 2 if page == "middle" else shops.large.products - 5
    return ItemCursor(
        incarnation=UUID(int=0),
        start_position=0,
        feed_position=max(which.after_position, number // 250),
        product_id=shops.large.product_id(number),
        item_id=shops.large.item_id(number),
    )


@pytest.mark.parametrize("part", ["snapshot", "changes"])
@pytest.mark.parametrize("page", ["first", "middle", "last"])
async def test_a_page_of_the_item_feed_reads_few_rows(shops: Shops, page: str, part: str) -> None:
    store = ItemFeedStore(Database(shops.engine))
    beginning = await store.page(shops.shop, None, limit=1)
    assert beginning.cursor.snapshot_position is not None
    number = {"first": 0, "middle": shops.large.products // 2, "last": shops.large.products - 5}[page]
    after = replace(
        beginning.cursor,
        snapshot_position=beginning.cursor.snapshot_position if part == "snapshot" else None,
        position=number // 250 + 1,
        item_id="" if page == "first" else shops.large.item_id(number),
    )
    found = await plans(shops, store.page(shops.shop, after, limit=LIMIT))
    check(found, at_most=FEW_ROWS + ROWS_OF_POSITIONS)


@pytest.mark.parametrize("page", ["first", "middle", "last"])
async def test_a_page_of_the_change_feed_reads_few_rows(shops: Shops, page: str) -> None:
    store = ChangeFeedStore(Database(shops.engine))
    begin = {"first": -EVENTS, "middle": -EVENTS // 2, "last": -5}[page]
    after = replace(await store.end(), xid=begin)
    found = await store.events(after, limit=LIMIT)
    assert len(found.records) == min(LIMIT, -begin)
    # The events, their shops, and the syncs of some of them with their shops.
    check(await plans(shops, store.events(after, limit=LIMIT)), at_most=FEW_ROWS)


@pytest.mark.parametrize("merchant_id", ["", "m7"])
@pytest.mark.parametrize("kind", ChangeKind, ids=lambda kind: kind.value)
async def test_a_page_of_the_snapshot_of_the_change_feed_reads_few_rows(
    shops: Shops, kind: ChangeKind, merchant_id: str
) -> None:
    store = ChangeFeedStore(Database(shops.engine))
    which = ChangeFilter(kind=kind, merchant_id=merchant_id)
    found = await plans(shops, store.snapshot(await store.start(), limit=LIMIT, which=which))
    check(found, at_most=10 * LIMIT)


@pytest.mark.parametrize("page", ["first", "middle", "last"])
@pytest.mark.parametrize("include_deleted", [False, True])
@pytest.mark.parametrize("part", ["", *MATCHES])
async def test_a_page_of_products_reads_few_rows(
    shops: Shops, part: str, include_deleted: bool, page: str
) -> None:
    skip_without_text_search(shops, part)
    after = cursor(shops, page, ItemFilter())
    store = ProductStore(Database(shops.engine), text_window=WINDOW)
    which = ProductFilter(text=part, include_deleted=include_deleted)
    found = store.page(shops.shop, which, after=after.product_id if after else "", limit=LIMIT)
    at_most = 2 * ITEMS_PER_PRODUCT * FEW_ROWS + (4 * (WINDOW + MATCHES[part]) if part else 0)
    check(await plans(shops, found), at_most=at_most)


def skip_without_text_search(shops: Shops, part: str) -> None:
    if part and not shops.has_text_search:
        pytest.skip("the PostgreSQL server of the tests has no pg_trgm and btree_gin")


async def test_one_item_one_product_and_a_status_read_few_rows(shops: Shops) -> None:
    database = Database(shops.engine)
    number = shops.large.products // 2
    check(await plans(shops, ItemStore(database).get(shops.shop, shops.large.item_id(number))), at_most=5)
    found = ProductStore(database).get(shops.shop, shops.large.product_id(number))
    check(await plans(shops, found), at_most=5 * ITEMS_PER_PRODUCT)
    check(await plans(shops, StatusStore(database).get(shops.shop, ScheduleDefaults())), at_most=20)


STATES: Final = [
    (),
    *((state,) for state in (SyncState.SUCCEEDED, SyncState.FAILED, SyncState.CANCELLED, SyncState.RUNNING)),
    (SyncState.FAILED, SyncState.CANCELLED),
    (SyncState.PENDING, SyncState.RUNNING),
    tuple(state for state in SyncState if state is not SyncState.UNSPECIFIED),
]


@pytest.mark.parametrize("page", ["first", "middle", "last"])
@pytest.mark.parametrize("of_shop", [True, False], ids=["of a shop", "of all shops"])
@pytest.mark.parametrize("states", STATES, ids=lambda states: "+".join(s.value for s in states) or "any state")
async def test_a_page_of_syncs_reads_few_rows(
    shops: Shops, states: tuple[SyncState, ...], of_shop: bool, page: str
) -> None:
    number = {"first": 0, "middle": SYNCS // 2, "last": 50}[page]
    before = None
    if number:
        created_at = datetime.now(UTC) - (SYNCS - number) * timedelta(minutes=2)
        before = SyncPosition(created_at=created_at, sync_id=sync_id_of(shops.large.shop_id, number))
    shop = shops.shop if of_shop else None
    found = SyncStore(Database(shops.engine)).page(shop=shop, states=states, before=before, limit=LIMIT)
    # A scan of each table, partition and state, and the state of each shop.
    check(await plans(shops, found), at_most=(2 * max(1, len(states)) + 2) * LIMIT)


FILTERS: Final = [
    ShopFilter(),
    ShopFilter(merchant_id="m7"),
    ShopFilter(platform="shopify"),
    ShopFilter(connection=ConnectionState.BROKEN),
    ShopFilter(domain="s777.example"),
    ShopFilter(merchant_id="m7", platform="shopify", connection=ConnectionState.BROKEN),
]


@pytest.mark.parametrize("which", FILTERS, ids=str)
async def test_a_page_of_shops_reads_few_rows(shops: Shops, which: ShopFilter) -> None:
    directory = ShopDirectoryStore(Database(shops.engine))
    for after in (None, shops.large.shop_id):
        found = directory.page(which, after=after, limit=LIMIT, defaults=ScheduleDefaults())
        # The page, its ids and schedules, and the other shops of the same stores.
        check(await plans(shops, found), at_most=10 * LIMIT)


@pytest.mark.parametrize("which", [ShopFilter(merchant_id="m7"), ShopFilter(domain="large.example")], ids=str)
@pytest.mark.parametrize("states", [(), (SyncState.FAILED,)], ids=["any state", "FAILED"])
async def test_a_page_of_syncs_of_a_merchant_reads_few_rows(
    shops: Shops, which: ShopFilter, states: tuple[SyncState, ...]
) -> None:
    found = SyncStore(Database(shops.engine)).page(shop=None, states=states, before=None, limit=LIMIT, of=which)
    # Each 50th sync has failed: they are found in the order of ids.
    check(await plans(shops, found), at_most=(60 if states else 10) * LIMIT)


async def test_what_is_asked_across_shops_reads_few_rows(shops: Shops) -> None:
    """The loops of the service, with the statements within their functions."""
    database = Database(shops.engine)
    schedules, syncs, retention = (
        ScheduleStore(database),
        SyncStore(database),
        RetentionStore(database, owner=shops.large.shop_id),
    )
    few_events = RetentionStore(database, owner=shops.large.shop_id, rows_per_purge=LIMIT)
    known = [sync_id_of(shops.large.shop_id, number) for number in range(SYNCS - LIMIT, SYNCS + 1)]
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: schedules.due(most_per_platform=20, limit=20),
        lambda: schedules.unplanned(limit=LIMIT),
        lambda: syncs.changed_revisions(dict.fromkeys(known, 0)),
        lambda: syncs.get_many(known),
        lambda: syncs.queue_positions(known),
        lambda: ItemFeedStore(database).heads([shops.large.shop_id]),
        lambda: ChangeFeedStore(database).end(),
        lambda: ShopStore(database).find(shops.shop.key),
        lambda: ShopStore(database).find_deleting(shops.shop.key),
        lambda: ShopDirectoryStore(database).get(shops.shop.key, ScheduleDefaults()),
        lambda: ShopDeletionStore(database, owner=shops.large.shop_id).active(limit=LIMIT),
        lambda: retention.purge_requests(older_than=timedelta(days=7)),
        lambda: retention.purge_deletions(older_than=timedelta(days=7)),
        lambda: few_events.purge_changes(older_than=timedelta(days=7)),
    ]
    for call in calls:
        check(await plans(shops, call()), at_most=5 * LIMIT)


async def test_the_check_finds_a_plan_that_scans_a_shop_or_a_table(shops: Shops) -> None:
    async def read(condition: str) -> None:
        async def work(connection: AsyncConnection) -> None:
            values = {"shop_id": shops.large.shop_id}
            await connection.execute(text(f"SELECT * FROM item WHERE {condition} LIMIT 100"), values)

        await Database(shops.engine).read(work, shops=[shops.large.shop_id])

    # The last one has an index, which row-level security does not let it use.
    for condition in (
        "shop_id = :shop_id AND barcode = 'x'",
        "shop_id = :shop_id AND title ILIKE '%zzzqqq%'",
    ):
        found = await plans(shops, read(condition))
        with pytest.raises(AssertionError):
            check(found, at_most=10_000)
