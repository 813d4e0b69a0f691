"""Falsifies stored rows by SQL, behind the catalog: neither the hash, the position nor the times change."""

from __future__ import annotations

from collections.abc import Collection
from random import Random
from typing import Final

from catalog_svc.storage.record_columns import ITEM_COLUMNS, PRODUCT_COLUMNS, RecordColumn
from tests.integration.catalog_svc.conftest import CatalogWorld

_OTHER_VALUES: Final = {
    "text": "{0} || ' falsified'",
    "bytea": "'\\xffff'",
    "boolean": "NOT {0}",
    "integer": "coalesce({0}, 0) + 1",
    "bigint": "coalesce({0}, 0) + 1",
    "timestamptz": "coalesce({0}, now()) - interval '1 second'",
    "text[]": "{0} || ARRAY['falsified']",
    "numeric": "coalesce({0}, 0) + 0.01",
    "jsonb": "{0} || CAST('[\"falsified\"]' AS jsonb)",
}
"""By type: the expression of a value that a column has not."""
_ROWS_FALSIFIED: Final = (
    "DELETE FROM item WHERE item_id = :item_id",
    "UPDATE item SET deleted_at = now() WHERE item_id = :item_id",
)
_PRODUCT_DELETED: Final = "UPDATE product SET deleted_at = now() WHERE product_id = :product_id"


def other_value(column: RecordColumn) -> str:
    """Return the SQL expression of another value of the column."""
    return _OTHER_VALUES[column.cast_to or column.staging_type].format(column.name)


def statements() -> list[str]:
    """Return a statement for each column and each kind of row; parameters are product_id and item_id."""
    of_products = [
        f"UPDATE product SET {column.name} = {other_value(column)} WHERE product_id = :product_id"
        for column in PRODUCT_COLUMNS[2:]
    ]
    of_items = [
        f"UPDATE item SET {column.name} = {other_value(column)} WHERE item_id = :item_id"
        for column in ITEM_COLUMNS[2:]
    ]
    return [*of_products, *of_items, *_ROWS_FALSIFIED, _PRODUCT_DELETED]


async def falsify(
    world: CatalogWorld, random: Random, *, products: int, without: Collection[str] = (), counted: bool = True
) -> set[str]:
    """Falsify one cell or row of each of so many random products that have items, and return their ids.

    Args:
        world: The database.
        random: Chooses products and cells.
        products: How many products are falsified.
        without: Ids of products that are not chosen.
        counted: Whether products may be marked as deleted, which an audit also finds by counting.
    """
    rows = await world.rows(
        "SELECT product_id, min(item_id) AS item_id FROM item WHERE deleted_at IS NULL GROUP BY 1 ORDER BY 1"
    )
    kinds = [statement for statement in statements() if counted or statement != _PRODUCT_DELETED]
    chosen = random.sample([row for row in rows if row["product_id"] not in without], products)
    for row in chosen:
        values = {"product_id": row["product_id"], "item_id": row["item_id"]}
        statement = random.choice(kinds)
        await world.execute(
            statement, **{name: value for name, value in values.items() if f":{name}" in statement}
        )
    return {row["product_id"] for row in chosen}
