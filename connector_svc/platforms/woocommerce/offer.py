"""What a product or variation is sold as and what is left of it: one rule for all readers."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from connector_svc.platforms.woocommerce.values import price_of
from connector_svc.platforms.woocommerce.wire import GoodsRow

_OUT_OF_STOCK: Final = "outofstock"
_NOT_PURCHASABLE_ITSELF: Final = frozenset({"external", "grouped"})
"""Types that the store says are not purchasable since they are bought elsewhere, or as their parts."""


def quantity(row: GoodsRow) -> int | None:
    """None: not counted. Where the parent counts ("parent"), the parent's number, which is each variation's."""
    return row.stock_quantity if row.manage_stock else None


def is_available(row: GoodsRow, price: Decimal | None, *, published: bool) -> bool:
    """Whether customers can buy it; `published` with its parent.

    Stock statuses of plugins, such as "preorder", are in stock for WooCommerce, too: its `is_in_stock()` is
    whatever is not "outofstock".
    """
    is_sold = row.purchasable or getattr(row, "type", "") in _NOT_PURCHASABLE_ITSELF
    return published and is_sold and price is not None and row.stock_status != _OUT_OF_STOCK


def compare_at_price_of(row: GoodsRow, price: Decimal | None) -> Decimal | None:
    """The regular price while the store asks less; a sale that is over or to come leaves `price` regular.

    Raises InvalidRecord when the regular price is no price.
    """
    if price is None or not row.sale_price:
        return None
    regular = price_of(row.regular_price, "regular_price")
    return regular if regular is not None and regular > price else None
