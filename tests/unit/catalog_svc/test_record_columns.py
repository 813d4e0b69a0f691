"""The columns of products and items are declared once; tables, staging tables and statements agree with it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from sqlalchemy import Table
from sqlalchemy.engine import make_url

from catalog_svc.domain.records import ItemRecord, ProductRecord
from catalog_svc.storage.analysis_images import ANALYSIS_COLUMNS
from catalog_svc.storage.products import (
    COMPARE_ITEMS,
    CREATE_STAGING_TABLES,
    INSERT_ITEMS,
    INSERT_PRODUCTS,
    STAGE_ITEM,
    STAGE_PRODUCT,
    UPSERT_ITEMS,
    UPSERT_PRODUCTS,
    staging_columns,
    versioned_name,
)
from catalog_svc.storage.record_columns import ITEM_COLUMNS, PRODUCT_COLUMNS, RecordColumn
from catalog_svc.storage.tables import item, product

_DIALECT = make_url("postgresql+asyncpg://").get_dialect()()
RECORDS = [
    pytest.param(ProductRecord._fields, PRODUCT_COLUMNS, product, id="product"),
    pytest.param(ItemRecord._fields, ITEM_COLUMNS, item, id="item"),
]
KEY = ("shop_id",)
BOOKKEEPING = ("feed_position", "created_at", "updated_at", "deleted_at")
"""Columns that the database fills, not the source."""
OF_ANALYSIS = {product: (), item: tuple(ANALYSIS_COLUMNS)}
"""Columns that the analysis of images fills; they are staged with the record."""


@pytest.mark.parametrize(("fields", "columns", "table"), RECORDS)
def test_a_table_has_the_fields_of_its_record_in_their_order(
    fields: tuple[str, ...], columns: Sequence[RecordColumn], table: Table
) -> None:
    assert tuple(column.name for column in columns) == fields
    assert tuple(table.columns.keys()) == (*KEY, *fields, *BOOKKEEPING, *OF_ANALYSIS[table])
    assert tuple(table.primary_key.columns.keys()) == (*KEY, fields[0])


@pytest.mark.parametrize(("fields", "columns", "table"), RECORDS)
def test_a_staged_value_has_the_type_of_its_column_or_is_cast_to_it(
    fields: tuple[str, ...], columns: Sequence[RecordColumn], table: Table
) -> None:
    staged = {column.name: column.cast_to or column.staging_type for column in columns}
    staged |= {name: ANALYSIS_COLUMNS[name] for name in OF_ANALYSIS[table]}
    for name, kind in staged.items():
        compiled = table.columns[name].type.compile(dialect=_DIALECT).lower()
        assert kind == compiled.replace("timestamp with time zone", "timestamptz"), name


@pytest.mark.parametrize(("fields", "columns", "table"), RECORDS)
def test_a_staging_table_has_exactly_the_fields_of_its_record(
    fields: tuple[str, ...], columns: Sequence[RecordColumn], table: Table
) -> None:
    more = {name: ANALYSIS_COLUMNS[name] for name in OF_ANALYSIS[table]}
    definitions = staging_columns(columns, more).split(", ")
    assert tuple(definition.split()[0] for definition in definitions) == (*fields, *more)


@pytest.mark.parametrize(
    ("fields", "insert", "upsert"),
    [
        (ProductRecord._fields, INSERT_PRODUCTS.text, UPSERT_PRODUCTS.text),
        ((*ItemRecord._fields, *ANALYSIS_COLUMNS), INSERT_ITEMS.text, UPSERT_ITEMS.text),
    ],
    ids=["product", "item"],
)
def test_an_upsert_inserts_every_field_and_updates_every_field_but_the_id(
    fields: tuple[str, ...], insert: str, upsert: str
) -> None:
    assert f"({', '.join((*KEY, *fields, 'feed_position'))})" in insert
    assert upsert.startswith(insert)
    updated = [part.split(" = ")[0].strip() for part in upsert.split("SET ")[1].split(",") if "excluded." in part]
    assert tuple(name for name in updated if name in fields) == fields[1:]


def test_an_item_is_compared_by_every_field_but_its_id() -> None:
    unchanged = COMPARE_ITEMS.text[: COMPARE_ITEMS.text.index("AS unchanged")]
    for name in ItemRecord._fields[1:]:
        for source in ("item", "stage"):
            assert len(re.findall(rf"\b{source}\.{name}\b", unchanged)) == 1, name


def test_the_name_of_a_staging_table_changes_with_its_columns() -> None:
    """So that a release with another column never uses the tables of this one."""
    columns = "item_id text, price text"
    assert versioned_name("stage", columns) == versioned_name("stage", columns)
    assert versioned_name("stage", columns) != versioned_name("stage", f"{columns}, cost text")
    for name, statement in zip((STAGE_PRODUCT, STAGE_ITEM), CREATE_STAGING_TABLES, strict=True):
        assert name in statement.text
