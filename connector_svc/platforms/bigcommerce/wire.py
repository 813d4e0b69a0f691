"""JSON structs of BigCommerce's replies: only the fields that we read, under BigCommerce's names.

A field without a default is required: a record without it is rejected instead of being stored with a guess.
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
    """An image of a product."""

    id: int = 0
    url_zoom: str | None = ""
    """The largest size."""
    url_standard: str | None = ""
    description: Text | None = ""
    is_thumbnail: bool = False
    """Whether it is the product's main image."""
    sort_order: int = 0


class UrlRow(msgspec.Struct, kw_only=True):
    """Path of a product in the storefront."""

    url: Text = ""


class VariantRow(msgspec.Struct, kw_only=True):
    """A variant; a product without options has exactly one, its base variant."""

    id: RecordId
    sku: Code | None
    price: Decimal | None
    """None: the product's price applies."""
    inventory_level: Quantity | None
    product_id: int | None = None
    calculated_price: Decimal | None = None
    """The storefront's price: sale prices and option rules are applied."""
    purchasing_disabled: bool = False
    weight: Decimal | None = None
    """None: the product's weight applies."""
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
    """Whether stock is tracked per product or per variant; one of TRACKING as documented."""
    availability: Code = ""
    """One of AVAILABILITY as documented."""
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
    """Not updated by a change of a variant's stock, price or SKU."""
    images: list[ImageRow] = []


TRACKING: Final = frozenset({"none", "product", "variant"})
AVAILABILITY: Final = frozenset({"available", "disabled", "preorder"})

DROPPABLE_FIELDS: Final = frozenset(
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
"""Fields that are left out when their value is malformed; any other malformed field rejects the record."""

PRICE_FIELDS: Final = frozenset({"price", "calculated_price"})


class Pagination(msgspec.Struct, kw_only=True):
    """Pagination of a list after its filters."""

    total: int
    per_page: int | None = None
    """Maximum number of records in a page."""


class Meta(msgspec.Struct, kw_only=True):
    """Metadata of every list."""

    pagination: Pagination


class RawList(msgspec.Struct, kw_only=True):
    """Any list, its records undecoded."""

    data: list[msgspec.Raw]
    meta: Meta


class ProductList(msgspec.Struct, kw_only=True):
    """A list of products, all of them well-formed."""

    data: list[ProductRow]
    meta: Meta


class OwnerRow(msgspec.Struct, kw_only=True):
    """A variant's id and its product's id."""

    id: int
    product_id: int


class OwnerList(msgspec.Struct, kw_only=True):
    """A list of variants, with their product ids alone."""

    data: list[OwnerRow]
    meta: Meta


class IdRow(msgspec.Struct, kw_only=True):
    """A product with its id alone."""

    id: RecordId


class IdList(msgspec.Struct, kw_only=True):
    """A list of products with their ids alone."""

    data: list[IdRow]
    meta: Meta


class ItemIdentityRow(msgspec.Struct, kw_only=True):
    """Product and variant of an inventory item."""

    product_id: int
    variant_id: int | None = None
    """None or 0: the item is the whole product."""


class LocationSettingsRow(msgspec.Struct, kw_only=True):
    """Settings of one item at one location."""

    safety_stock: int | None = None
    """Pieces that are kept back from sale."""
    is_in_stock: bool | None = None
    backorder_limit: int | None = None


class LocationRow(msgspec.Struct, kw_only=True):
    """Stock of one item at one location."""

    available_to_sell: Quantity | None = None
    total_inventory_onhand: Quantity | None = None
    location_enabled: bool | None = None
    settings: LocationSettingsRow | None = None
    backorder_limit: int | None = None
    """The public reference does not say whether the limit is here or in the settings."""


class ItemRow(msgspec.Struct, kw_only=True):
    """An entry of `/v3/inventory/items`."""

    identity: ItemIdentityRow
    locations: list[LocationRow]


class BrandRow(msgspec.Struct, kw_only=True):
    """A brand with its name."""

    id: int
    name: str = ""


class BrandList(msgspec.Struct, kw_only=True):
    """A list of brands."""

    data: list[BrandRow]


class StoreRow(msgspec.Struct, kw_only=True):
    """The store, as `/v2/store` returns it."""

    currency: str
    id: str = ""
    """The store's hash."""
    name: str = ""
    secure_url: str = ""
    """The storefront's address."""
    weight_units: str = ""
