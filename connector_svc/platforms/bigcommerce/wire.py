"""What a store sends: only the fields that we read, under the store's own names.

A field without a default is vital: a record that lacks it is set aside instead of being stored with a guess.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final, TypeAlias

import msgspec

from connector_svc.domain.records import Code, Text

RecordId: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Quantity: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class OptionValueRow(msgspec.Struct, kw_only=True):
    """A variant's value of one option."""

    option_display_name: Text = ""
    label: Text = ""


class ImageRow(msgspec.Struct, kw_only=True):
    """A picture of a product."""

    id: int = 0
    url_zoom: str | None = ""
    """The largest."""
    url_standard: str | None = ""
    description: Text | None = ""
    is_thumbnail: bool = False
    """Whether it is the one that stands for the product."""
    sort_order: int = 0


class UrlRow(msgspec.Struct, kw_only=True):
    """Where the storefront shows a product."""

    url: Text = ""


class VariantRow(msgspec.Struct, kw_only=True):
    """A variant; a product without options has exactly one, its base variant."""

    id: RecordId
    sku: Code | None
    price: Decimal | None
    """None: the product's."""
    inventory_level: Quantity | None
    product_id: int | None = None
    calculated_price: Decimal | None = None
    """What the storefront asks: sale prices and option rules are in it."""
    purchasing_disabled: bool = False
    weight: Decimal | None = None
    """None: the product's."""
    image_url: str | None = ""
    upc: Code | None = ""
    gtin: Code | None = ""
    option_values: list[OptionValueRow] = []


class ProductRow(msgspec.Struct, kw_only=True):
    """An entry of `/v3/catalog/products`."""

    id: RecordId
    name: Text
    price: Decimal | None
    inventory_level: Quantity | None
    is_visible: bool
    variants: list[VariantRow]
    inventory_tracking: Code = ""
    """Where stock is counted, one of TRACKING as far as we know."""
    availability: Code = ""
    """One of AVAILABILITY as far as we know."""
    base_variant_id: int | None = None
    """None for a product with options."""
    calculated_price: Decimal | None = None
    type: Text = ""
    description: str | None = ""
    weight: Decimal | None = None
    brand_id: int | None = None
    upc: Code | None = ""
    gtin: Code | None = ""
    custom_url: UrlRow | None = None
    date_created: datetime | None = None
    date_modified: datetime | None = None
    """Not moved by a change of a variant's stock, price or SKU."""
    images: list[ImageRow] = []


TRACKING: Final = frozenset({"none", "product", "variant"})
AVAILABILITY: Final = frozenset({"available", "disabled", "preorder"})

DECORATION: Final = frozenset(
    {
        "inventory_tracking",
        "availability",
        "type",
        "description",
        "weight",
        "brand_id",
        "upc",
        "gtin",
        "custom_url",
        "date_created",
        "date_modified",
        "images",
        "image_url",
        "option_values",
    }
)
"""Fields without which a record is still worth storing."""

PRICES: Final = frozenset({"price", "calculated_price"})


class Pagination(msgspec.Struct, kw_only=True):
    """Of the list as it was filtered."""

    total: int
    per_page: int | None = None
    """How many records a page holds at most."""


class Meta(msgspec.Struct, kw_only=True):
    """Beside every list."""

    pagination: Pagination


class RawList(msgspec.Struct, kw_only=True):
    """Any list, its records still unread."""

    data: list[msgspec.Raw]
    meta: Meta


class ProductList(msgspec.Struct, kw_only=True):
    """A list of products, all of them sound."""

    data: list[ProductRow]
    meta: Meta


class OwnerRow(msgspec.Struct, kw_only=True):
    """Whose a variant is."""

    id: int
    product_id: int


class OwnerList(msgspec.Struct, kw_only=True):
    """A list of variants of which only the owner was asked."""

    data: list[OwnerRow]
    meta: Meta


class IdRow(msgspec.Struct, kw_only=True):
    """A product of which only the id was asked."""

    id: RecordId


class IdList(msgspec.Struct, kw_only=True):
    """A list of them."""

    data: list[IdRow]
    meta: Meta


class ItemIdentityRow(msgspec.Struct, kw_only=True):
    """Whose stock an inventory item is."""

    product_id: int
    variant_id: int | None = None
    """None, or 0: the product's own."""


class LocationSettingsRow(msgspec.Struct, kw_only=True):
    """How one location sells one item."""

    safety_stock: int | None = None
    """Pieces that are not sold."""
    is_in_stock: bool | None = None
    backorder_limit: int | None = None


class LocationRow(msgspec.Struct, kw_only=True):
    """One item at one location."""

    available_to_sell: Quantity | None = None
    total_inventory_onhand: Quantity | None = None
    location_enabled: bool | None = None
    settings: LocationSettingsRow | None = None
    backorder_limit: int | None = None
    """The public reference does not say whether it stands here or in the settings."""


class ItemRow(msgspec.Struct, kw_only=True):
    """An entry of `/v3/inventory/items`."""

    identity: ItemIdentityRow
    locations: list[LocationRow]


class BrandRow(msgspec.Struct, kw_only=True):
    """A brand's name."""

    id: int
    name: str = ""


class BrandList(msgspec.Struct, kw_only=True):
    """A list of brands."""

    data: list[BrandRow]


class StoreRow(msgspec.Struct, kw_only=True):
    """`/v2/store`."""

    currency: str
    id: str = ""
    """The store's hash."""
    name: str = ""
    secure_url: str = ""
    """The storefront's own address."""
    weight_units: str = ""
