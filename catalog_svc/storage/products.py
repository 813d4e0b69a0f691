"""The bulk writer of products and items: compare hashes first, then write only what changed, in few statements.

One SELECT reads the stored hashes; an unchanged product costs nothing more. Changed products go by COPY into
temporary staging tables, and from there by one INSERT ... SELECT ... ON CONFLICT into each table: COPY itself can
neither skip a stored row nor pass row-level security.

Each transaction creates the staging tables if they do not exist, so that nothing depends on which connection of a
pool the transaction got. They stay on the connection, which saves 1 to 2 ms for each batch. Behind a pooler, whose
server connections have other users too, they are dropped with the transaction. Their names end in a hash of their
columns: on a connection with tables of a release with other columns, a release creates its own tables.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import CursorResult, TextClause, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.analysis import NO_ANALYSES, AnalysisCounts
from catalog_svc.domain.records import IncomingProduct, ItemRecord, ProductRecord, RecordIssue, RecordRejected
from catalog_svc.domain.sync import RecordCounts
from catalog_svc.storage.analysis_images import ANALYSIS_COLUMNS, StagedAnalysis, count_items, stage_analysis
from catalog_svc.storage.fence import CatalogChange
from catalog_svc.storage.pooler import is_pooled
from catalog_svc.storage.record_columns import ITEM_COLUMNS, PRODUCT_COLUMNS, RecordColumn
from catalog_svc.storage.shops import ShopScope
from catalog_svc.storage.tenant import driver_of

_PRODUCTS_PER_SLICE: Final = 30
"""Products that are unpacked at a time. They take a millisecond, after which other tasks of the process run."""


def staging_columns(columns: Sequence[RecordColumn], more: Mapping[str, str] | None = None) -> str:
    """Return the column definitions of the staging table of these columns, and of `more`, by their types."""
    names = {column.name: column.staging_type for column in columns} | dict(more or {})
    return ", ".join(f"{name} {kind}" for name, kind in names.items())


def versioned_name(name: str, columns: str) -> str:
    """Return the name of a staging table with these column definitions; other definitions give another name."""
    return f"{name}_{hashlib.blake2b(columns.encode(), digest_size=4).hexdigest()}"


STAGE_PRODUCT: Final = versioned_name("stage_product", staging_columns(PRODUCT_COLUMNS))
_ITEM_STAGING_COLUMNS: Final = staging_columns(ITEM_COLUMNS, ANALYSIS_COLUMNS)
STAGE_ITEM: Final = versioned_name("stage_item", _ITEM_STAGING_COLUMNS)


def _create_staging_tables(on_commit: str) -> tuple[TextClause, ...]:
    return tuple(
        text(f"CREATE TEMPORARY TABLE IF NOT EXISTS {name} ({columns}) ON COMMIT {on_commit}")
        for name, columns in (
            (STAGE_PRODUCT, staging_columns(PRODUCT_COLUMNS)),
            (STAGE_ITEM, _ITEM_STAGING_COLUMNS),
        )
    )


CREATE_STAGING_TABLES: Final = _create_staging_tables("DELETE ROWS")
CREATE_POOLED_STAGING_TABLES: Final = _create_staging_tables("DROP")


def _insert(table: str, columns: Sequence[RecordColumn], stage: str, *more: str) -> TextClause:
    """INSERT of all staged rows; the first column is the record's id, `more` are columns of the same type."""
    names = ", ".join((*(column.name for column in columns), *more))
    values = ", ".join((*(_staged_value(column) for column in columns), *(f"stage.{name}" for name in more)))
    return text(f"""
    INSERT INTO {table} (shop_id, {names}, feed_position)
    SELECT CAST(:shop_id AS uuid), {values}, CAST(:feed_position AS bigint)
    FROM {stage} AS stage""")


def _staged_value(column: RecordColumn) -> str:
    return f"CAST(stage.{column.name} AS {column.cast_to})" if column.cast_to else f"stage.{column.name}"


def _on_conflict_update(columns: Sequence[RecordColumn], *more: str) -> str:
    names = (*(column.name for column in columns[1:]), *more)
    assignments = ", ".join(f"{name} = excluded.{name}" for name in names)
    return f"""
    ON CONFLICT (shop_id, {columns[0].name}) DO UPDATE
    SET {assignments}, feed_position = excluded.feed_position, updated_at = excluded.updated_at,
        deleted_at = NULL"""


def _compared_values(source: str, columns: Sequence[RecordColumn], *, staged: bool) -> str:
    """A row of all columns but the id, comparable between `source` tables.

    Numbers are compared as texts: 7.3 and 7.30 are equal numbers, and what the platform wrote is what we keep.
    """

    def value(column: RecordColumn) -> str:
        if column.cast_to == "numeric":
            return f"CAST({source}.{column.name} AS text)"
        if staged and column.cast_to:
            return f"CAST({source}.{column.name} AS {column.cast_to})"
        return f"{source}.{column.name}"

    return f"({', '.join(value(column) for column in columns[1:])})"


INSERT_PRODUCTS: Final = _insert("product", PRODUCT_COLUMNS, STAGE_PRODUCT)
INSERT_ITEMS: Final = _insert("item", ITEM_COLUMNS, STAGE_ITEM, *ANALYSIS_COLUMNS)
UPSERT_PRODUCTS: Final = text(INSERT_PRODUCTS.text + _on_conflict_update(PRODUCT_COLUMNS))
UPSERT_ITEMS: Final = text(f"""{INSERT_ITEMS.text}{_on_conflict_update(ITEM_COLUMNS, *ANALYSIS_COLUMNS)}
    WHERE item.deleted_at IS NOT NULL OR item.analysis_state IS DISTINCT FROM excluded.analysis_state
       OR {_compared_values("item", ITEM_COLUMNS, staged=False)}
          IS DISTINCT FROM {_compared_values("excluded", ITEM_COLUMNS, staged=False)}""")

# Before UPSERT_ITEMS: afterwards new rows cannot be distinguished from old ones.
COMPARE_ITEMS: Final = text(f"""
    SELECT count(*) AS seen,
           count(*) FILTER (WHERE item.item_id IS NULL OR item.deleted_at IS NOT NULL) AS created,
           count(*) FILTER (WHERE item.item_id IS NOT NULL AND item.deleted_at IS NULL
               AND {_compared_values("item", ITEM_COLUMNS, staged=False)}
                   IS NOT DISTINCT FROM {_compared_values("stage", ITEM_COLUMNS, staged=True)}) AS unchanged,
           count(*) FILTER (WHERE stage.image_url <> '')
               - count(*) FILTER (WHERE item.deleted_at IS NULL AND item.image_url <> '') AS with_image
    FROM {STAGE_ITEM} AS stage
    LEFT JOIN item ON item.shop_id = :shop_id AND item.item_id = stage.item_id""")

_ITEM_FIELDS_OF_PRODUCT: Final = ("title", "status", "url", "vendor", "product_type")
"""Columns of the product that clients read as fields of its items."""

# Before UPSERT_PRODUCTS. A change of these columns is a change of the product's items, also of those that are the
# same in themselves.
_SELECT_PRODUCTS_WITH_CHANGED_ITEM_FIELDS: Final = text(f"""
    SELECT stage.product_id FROM {STAGE_PRODUCT} AS stage
    JOIN product ON product.shop_id = :shop_id AND product.product_id = stage.product_id
    WHERE ({", ".join(f"stage.{name}" for name in _ITEM_FIELDS_OF_PRODUCT)})
        IS DISTINCT FROM ({", ".join(f"product.{name}" for name in _ITEM_FIELDS_OF_PRODUCT)})""")

_UPDATE_ITEM_POSITIONS: Final = text("""
    UPDATE item SET feed_position = :feed_position, updated_at = statement_timestamp()
    WHERE shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[])) AND deleted_at IS NULL
      AND feed_position < :feed_position""")


def _delete_items(condition: str) -> TextClause:
    """UPDATE that turns live items into tombstones and returns how many, and how many of them had an image."""
    return text(f"""
    WITH deleted AS (
        UPDATE item SET deleted_at = statement_timestamp(), updated_at = statement_timestamp(),
            feed_position = :feed_position
        WHERE shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[])) AND deleted_at IS NULL
          {condition}
        RETURNING image_url, analysis_state)
    SELECT count(*) AS items, count(*) FILTER (WHERE image_url <> '') AS items_with_image,
        count(*) FILTER (WHERE analysis_state = 'PENDING') AS pending,
        count(*) FILTER (WHERE analysis_state = 'ANALYZED') AS analyzed,
        count(*) FILTER (WHERE analysis_state = 'FAILED') AS failed
    FROM deleted""")


# After UPSERT_ITEMS: an item that moved to another product has moved already.
_DELETE_REMOVED_ITEMS: Final = _delete_items("AND item_id <> ALL(CAST(:item_ids AS text[]))")
_DELETE_ITEMS: Final = _delete_items("")

_SELECT_STORED: Final = text("""
    SELECT product_id, content_hash, deleted_at IS NOT NULL AS deleted FROM product
    WHERE shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[]))""")

_DELETE_PRODUCTS: Final = text("""
    UPDATE product SET deleted_at = statement_timestamp(), updated_at = statement_timestamp(),
        feed_position = :feed_position
    WHERE shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[])) AND deleted_at IS NULL""")


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteResult:
    """What a batch changed."""

    products: RecordCounts
    items: RecordCounts
    change: CatalogChange
    """What it changes in the counters of the shop."""
    rejected: tuple[RecordIssue, ...] = ()
    """Issues of products that cannot be stored as they came: what is stored of them stays."""
    new_tasks: bool = False
    """Whether images got analysis tasks: the transaction must activate the shop in the queue."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeletedItems:
    """Items that became tombstones."""

    items: int = 0
    items_with_image: int = 0
    analysis: AnalysisCounts = NO_ANALYSES


_NO_RECORDS: Final = RecordCounts()


@dataclass(frozen=True, kw_only=True, slots=True)
class _WrittenItems:
    """What became of the items of changed products."""

    counts: RecordCounts = _NO_RECORDS
    images: int = 0
    """How many more items have an image now."""
    analysis: AnalysisCounts = NO_ANALYSES
    """By how much the numbers of items in each state of analysis change."""
    new_tasks: bool = False


@dataclass(frozen=True, slots=True)
class _Unpacked:
    accepted: list[IncomingProduct]
    products: list[ProductRecord]
    items: list[ItemRecord]
    rejected: list[RecordIssue]


@dataclass(frozen=True, slots=True)
class _StoredProduct:
    content_hash: bytes
    deleted: bool


class ProductWriter:
    """Writes products of one shop within the caller's transaction, which holds the shop's write lock."""

    def __init__(
        self, connection: AsyncConnection, scope: ShopScope, *, feed_position: int, analyzers: Sequence[str] = ()
    ) -> None:
        """Create a writer whose rows get this position, and whose images these analyzers analyze."""
        self._connection = connection
        self._scope = scope
        self._feed_position = feed_position
        self._analyzers = analyzers
        self._values: dict[str, object] = {**scope.values, "feed_position": feed_position}

    async def write(self, products: Sequence[IncomingProduct], deleted: Sequence[str]) -> WriteResult:
        """Store these products and their items, and mark others as deleted.

        Args:
            products: Products to store, each id once.
            deleted: Ids of products to mark as deleted, with their items.
        """
        stored = await self._select_stored(products)
        changed = [p for p in products if _differs(p, stored.get(p.product_id))]
        unchanged_items = sum(p.item_count for p in products) - sum(p.item_count for p in changed)
        unpacked = await _unpack(changed)
        accepted = unpacked.accepted
        created = sum(_is_new(stored.get(p.product_id)) for p in accepted)
        written = await self._write_changed(unpacked, stored) if accepted else _WrittenItems()
        products_deleted, items_deleted = await self.delete(deleted)
        items = written.counts + RecordCounts(
            seen=unchanged_items, unchanged=unchanged_items, deleted=items_deleted.items
        )
        return WriteResult(
            products=RecordCounts(
                seen=len(products) - len(unpacked.rejected),
                created=created,
                updated=len(accepted) - created,
                unchanged=len(products) - len(changed),
                deleted=products_deleted,
            ),
            items=items,
            change=CatalogChange(
                products=created - products_deleted,
                items=items.created - items.deleted,
                items_with_image=written.images - items_deleted.items_with_image,
                deleted=bool(products_deleted or items.deleted),
                changed=bool(accepted or products_deleted or items.deleted),
                analysis=written.analysis - items_deleted.analysis,
            ),
            rejected=tuple(unpacked.rejected),
            new_tasks=written.new_tasks,
        )

    async def delete(self, product_ids: Sequence[str]) -> tuple[int, DeletedItems]:
        """Mark these products and their items as deleted; return how many of each were not before."""
        if not product_ids:
            return 0, DeletedItems()
        values = {**self._values, "product_ids": list(product_ids)}
        items = await self._delete_items(_DELETE_ITEMS, values)
        products = (await self._connection.execute(_DELETE_PRODUCTS, values)).rowcount
        return products, items

    async def _select_stored(self, products: Sequence[IncomingProduct]) -> dict[str, _StoredProduct]:
        if not products:
            return {}
        values = {**self._values, "product_ids": [p.product_id for p in products]}
        rows = await self._connection.execute(_SELECT_STORED, values)
        return {row.product_id: _StoredProduct(row.content_hash, row.deleted) for row in rows}

    async def _write_changed(self, unpacked: _Unpacked, stored: dict[str, _StoredProduct]) -> _WrittenItems:
        items = unpacked.items
        analysis = await self._analysis(items)
        await self._stage(unpacked.products, items, analysis.columns)
        known = [p for p in unpacked.accepted if p.product_id in stored]
        if not known and await self._insert_all_as_new():
            return _WrittenItems(
                counts=RecordCounts(seen=len(items), created=len(items)),
                images=sum(item.image_url != "" for item in items),
                analysis=analysis.counts,
                new_tasks=analysis.new_tasks,
            )
        counts, images = await self._compare_items()
        item_ids = [item.item_id for item in items]
        before = await count_items(self._connection, self._scope, item_ids) if self._analyzers else NO_ANALYSES
        renamed = list((await self._execute(_SELECT_PRODUCTS_WITH_CHANGED_ITEM_FIELDS)).scalars()) if known else []
        await self._execute(UPSERT_PRODUCTS)
        await self._execute(UPSERT_ITEMS)
        if renamed:
            await self._execute(_UPDATE_ITEM_POSITIONS, product_ids=renamed)
        removed = await self._delete_removed_items(known, item_ids)
        return _WrittenItems(
            counts=counts + RecordCounts(deleted=removed.items),
            images=images - removed.items_with_image,
            analysis=analysis.counts - before - removed.analysis,
            new_tasks=analysis.new_tasks,
        )

    async def _analysis(self, items: Sequence[ItemRecord]) -> StagedAnalysis:
        if not self._analyzers:
            return StagedAnalysis()
        return await stage_analysis(
            self._connection, self._scope, items, analyzers=self._analyzers, feed_position=self._feed_position
        )

    async def _stage(
        self,
        products: list[ProductRecord],
        items: list[ItemRecord],
        analysis: Sequence[tuple[bytes | None, str]],
    ) -> None:
        pooled = is_pooled(self._connection)
        for statement in CREATE_POOLED_STAGING_TABLES if pooled else CREATE_STAGING_TABLES:
            await self._connection.execute(statement)
        driver = await driver_of(self._connection)
        await driver.copy_records_to_table(STAGE_PRODUCT, records=products, columns=ProductRecord._fields)
        columns: tuple[str, ...] = ItemRecord._fields
        records: Sequence[tuple[object, ...]] = items
        if analysis:
            columns = (*columns, *ANALYSIS_COLUMNS)
            records = [(*item, *more) for item, more in zip(items, analysis, strict=True)]
        await driver.copy_records_to_table(STAGE_ITEM, records=records, columns=columns)

    async def _insert_all_as_new(self) -> bool:
        """Insert what is staged and return True; return False, with nothing inserted, if a row exists already.

        ON CONFLICT costs PostgreSQL a third more for each row. Where all products are new, only an item that
        moved here from another product needs it, which is rare enough to try without.
        """
        try:
            async with self._connection.begin_nested():
                await self._execute(INSERT_PRODUCTS)
                await self._execute(INSERT_ITEMS)
        except IntegrityError:
            return False
        return True

    async def _compare_items(self) -> tuple[RecordCounts, int]:
        row = (await self._execute(COMPARE_ITEMS)).one()
        counts = RecordCounts(
            seen=row.seen,
            created=row.created,
            updated=row.seen - row.created - row.unchanged,
            unchanged=row.unchanged,
        )
        return counts, row.with_image

    async def _delete_removed_items(self, known: Sequence[IncomingProduct], received: list[str]) -> DeletedItems:
        """Mark items as deleted that are missing in a product whose variants came complete."""
        complete = [p.product_id for p in known if p.variants_complete]
        if not complete:
            return DeletedItems()
        values = {**self._values, "product_ids": complete, "item_ids": received}
        return await self._delete_items(_DELETE_REMOVED_ITEMS, values)

    async def _delete_items(self, statement: TextClause, values: Mapping[str, object]) -> DeletedItems:
        row = (await self._connection.execute(statement, dict(values))).one()
        return DeletedItems(
            items=row.items,
            items_with_image=row.items_with_image,
            analysis=AnalysisCounts(pending=row.pending, analyzed=row.analyzed, failed=row.failed),
        )

    async def _execute(self, statement: TextClause, **more: object) -> CursorResult[Any]:
        return await self._connection.execute(statement, {**self._values, **more})


async def _unpack(changed: Sequence[IncomingProduct]) -> _Unpacked:
    """Return the rows of these products, each item once, and the issues of those that cannot be stored."""
    unpacked = _Unpacked([], [], [], [])
    items: dict[str, ItemRecord] = {}
    for number, product in enumerate(changed):
        if number % _PRODUCTS_PER_SLICE == 0:
            await asyncio.sleep(0)
        try:
            record, its_items = product.unpack()
        except RecordRejected as rejection:
            unpacked.rejected.append(rejection.issue)
            continue
        unpacked.accepted.append(product)
        unpacked.products.append(record)
        items.update((item.item_id, item) for item in its_items)
    unpacked.items.extend(items.values())
    return unpacked


def _differs(product: IncomingProduct, stored: _StoredProduct | None) -> bool:
    return stored is None or stored.deleted or stored.content_hash != product.content_hash


def _is_new(stored: _StoredProduct | None) -> bool:
    return stored is None or stored.deleted
