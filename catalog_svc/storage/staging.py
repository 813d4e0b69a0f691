"""The statements that move staged rows into the catalog.

COPY fills temporary tables first, since COPY itself can neither skip a stored row nor pass row-level security. The
tables are made inside each transaction if they are not there yet, so that nothing depends on which connection of a
pool (or of a PgBouncer) the transaction got. Their names end in a hash of their columns: on a server connection
that a pooler keeps across an upgrade, a release with other columns makes tables of its own.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import text

_PRODUCT_COLUMNS = """product_id text, content_hash bytea, title text, handle text, description_html text,
    vendor text, product_type text, tags text[], status text, url text, options text, images text,
    source_created_at timestamptz, source_updated_at timestamptz, item_count integer"""
_ITEM_COLUMNS = """item_id text, product_id text, position integer, title text, sku text, barcode text,
    currency_code text, price text, compare_at_price text, stock_quantity bigint, available boolean,
    sellable_without_stock boolean, options text, image_url text, weight text, weight_unit text,
    source_created_at timestamptz, source_updated_at timestamptz"""


def versioned(name: str, columns: str) -> str:
    """Return the name of a table with these columns, of which no other release has the same."""
    return f"{name}_{hashlib.blake2b(columns.encode(), digest_size=4).hexdigest()}"


STAGE_PRODUCT = versioned("stage_product", _PRODUCT_COLUMNS)
STAGE_ITEM = versioned("stage_item", _ITEM_COLUMNS)

CREATE = tuple(
    text(f"CREATE TEMPORARY TABLE IF NOT EXISTS {name} ({columns}) ON COMMIT DELETE ROWS")
    for name, columns in ((STAGE_PRODUCT, _PRODUCT_COLUMNS), (STAGE_ITEM, _ITEM_COLUMNS))
)

_PRODUCT = (
    "content_hash",
    "title",
    "handle",
    "description_html",
    "vendor",
    "product_type",
    "tags",
    "status",
    "url",
    "options",
    "images",
    "source_created_at",
    "source_updated_at",
    "item_count",
)
_ITEM = (
    "product_id",
    "position",
    "title",
    "sku",
    "barcode",
    "currency_code",
    "price",
    "compare_at_price",
    "stock_quantity",
    "available",
    "sellable_without_stock",
    "options",
    "image_url",
    "weight",
    "weight_unit",
    "source_created_at",
    "source_updated_at",
)
_JSON = frozenset({"options", "images"})
# 7.3 and 7.30 are equal numbers and different texts: what the platform wrote is what we keep. Texts are also what
# COPY takes fastest, and PostgreSQL reads a number from one faster than asyncpg makes one.
_EXACT = frozenset({"price", "compare_at_price", "weight"})
_CASTS = dict.fromkeys(_JSON, "jsonb") | dict.fromkeys(_EXACT, "numeric")


def _staged(columns: tuple[str, ...]) -> str:
    return ", ".join(f"CAST(stage.{c} AS {_CASTS[c]})" if c in _CASTS else f"stage.{c}" for c in columns)


def _taken(columns: tuple[str, ...]) -> str:
    return ", ".join(f"{c} = excluded.{c}" for c in columns)


def _values(source: str, columns: tuple[str, ...], *, staged: bool) -> str:
    def value(column: str) -> str:
        if column in _EXACT:
            return f"CAST({source}.{column} AS text)"
        return f"CAST({source}.{column} AS jsonb)" if staged and column in _JSON else f"{source}.{column}"

    return f"({', '.join(value(c) for c in columns)})"


INSERT_PRODUCTS = text(f"""
    INSERT INTO product (merchant_id, shop_id, product_id, {", ".join(_PRODUCT)})
    SELECT CAST(:merchant_id AS uuid), CAST(:shop_id AS uuid), stage.product_id, {_staged(_PRODUCT)}
    FROM {STAGE_PRODUCT} AS stage""")

WRITE_PRODUCTS = text(f"""{INSERT_PRODUCTS.text}
    ON CONFLICT (merchant_id, shop_id, product_id) DO UPDATE
    SET {_taken(_PRODUCT)}, updated_at = clock_timestamp(), deleted_at = NULL""")

INSERT_ITEMS = text(f"""
    INSERT INTO item (merchant_id, shop_id, item_id, {", ".join(_ITEM)})
    SELECT CAST(:merchant_id AS uuid), CAST(:shop_id AS uuid), stage.item_id, {_staged(_ITEM)}
    FROM {STAGE_ITEM} AS stage""")

WRITE_ITEMS = text(f"""{INSERT_ITEMS.text}
    ON CONFLICT (merchant_id, shop_id, item_id) DO UPDATE
    SET {_taken(_ITEM)}, updated_at = clock_timestamp(), deleted_at = NULL
    WHERE item.deleted_at IS NOT NULL
       OR {_values("item", _ITEM, staged=False)} IS DISTINCT FROM {_values("excluded", _ITEM, staged=False)}""")

# Before WRITE_ITEMS: afterwards nothing tells a new row from an old one.
COMPARE_ITEMS = text(f"""
    SELECT count(*) AS seen,
           count(*) FILTER (WHERE item.item_id IS NULL OR item.deleted_at IS NOT NULL) AS created,
           count(*) FILTER (WHERE item.item_id IS NOT NULL AND item.deleted_at IS NULL
               AND {_values("item", _ITEM, staged=False)}
                   IS NOT DISTINCT FROM {_values("stage", _ITEM, staged=True)}) AS unchanged
    FROM {STAGE_ITEM} AS stage
    LEFT JOIN item ON item.merchant_id = :merchant_id AND item.shop_id = :shop_id
        AND item.item_id = stage.item_id""")

# After WRITE_ITEMS: an item that moved to another product has moved already.
DELETE_DEPARTED = text("""
    UPDATE item SET deleted_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE merchant_id = :merchant_id AND shop_id = :shop_id AND product_id = ANY(CAST(:product_ids AS text[]))
      AND deleted_at IS NULL AND item_id <> ALL(CAST(:item_ids AS text[]))""")
