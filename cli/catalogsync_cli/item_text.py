"""Items as text: the cells of a table, prices, stock and states."""

from __future__ import annotations

from catalogsync.catalog.v1.catalog_service_pb2 import Item
from catalogsync.types.v1.product_pb2 import Money, ProductStatus

from catalogsync_cli.analysis_text import item_quality_text, item_state_text
from catalogsync_cli.formatting import enum_name
from catalogsync_cli.output import time_text

MORE_ITEM_COLUMNS = ("BARCODE", "CHANGED", "ANALYSIS", "QUALITY", "IMAGE")
ITEM_COLUMNS = ("ITEM", "PRODUCT", "TITLE", "SKU", "PRICE", "STOCK", "STATUS")


def item_row(found: Item) -> tuple[str, ...]:
    """Return the cells of an item below ITEM_COLUMNS."""
    title = f"{found.product_title} / {found.title}" if found.title else found.product_title
    status = "DELETED" if found.HasField("delete_time") else status_text(found.product_status)
    return (
        found.item_id,
        found.product_id,
        title,
        found.sku or "-",
        money_text(found.price) or "-",
        stock_text(found),
        status,
    )


def more_item_cells(found: Item) -> tuple[str, ...]:
    """Return the cells of an item below MORE_ITEM_COLUMNS."""
    return (
        found.barcode or "-",
        time_text(found, "update_time"),
        item_state_text(found.analysis),
        item_quality_text(found.analysis),
        found.image_url or "-",
    )


def status_text(status: ProductStatus.ValueType) -> str:
    """Return a product status as it is shown, "" when it is unknown."""
    return enum_name(ProductStatus.Name, status, "PRODUCT_STATUS_") if status else ""


def stock_text(found: Item) -> str:
    """Return the stock of an item."""
    count = f"{found.stock_quantity:,}" if found.HasField("stock_quantity") else "not tracked"
    return f"{count}, sellable without stock" if found.sellable_without_stock else count


def money_text(money: Money) -> str:
    """Return an amount with its currency, "" if there is none."""
    return f"{money.amount} {money.currency_code}".strip()
