"""What is left of a product or variation, and whether it can be bought: one rule for all readers."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from connector_svc.platforms.woocommerce.wire import GoodsRow

_ON_SALE: Final = frozenset({"instock", "onbackorder"})


def quantity(row: GoodsRow) -> int | None:
    """None: not counted. Where the parent counts ("parent"), the parent's number, which is each variation's."""
    return row.stock_quantity if row.manage_stock else None


def is_available(row: GoodsRow, price: Decimal | None, *, published: bool) -> bool:
    """Whether customers can buy it; `published` with its parent."""
    return published and price is not None and row.stock_status in _ON_SALE
