"""What peers ask a WooCommerce store, so that the store can be asked the same beforehand."""

from __future__ import annotations

from typing import Final

PER_PAGE: Final = 100
_COMMON: Final = (
    "id,status,sku,price,manage_stock,stock_quantity,stock_status,regular_price,sale_price,backorders,weight,"
    "global_unique_id,date_created_gmt,date_modified_gmt,attributes"
)
PRODUCT_FIELDS: Final = f"{_COMMON},name,type,variations,slug,permalink,catalog_visibility,description,images,tags"
VARIATION_FIELDS: Final = f"{_COMMON},parent_id,image"
"""What our connector reads; asked for by who is tuned."""


def listing(*, fields: str = "", kind: str = "") -> dict[str, str]:
    """The parameters of the first page; the others follow from the answer's Link. No fields: all of them."""
    params = {"per_page": str(PER_PAGE), "orderby": "id", "order": "asc"}
    return params | ({"_fields": fields} if fields else {}) | ({"type": kind} if kind else {})
