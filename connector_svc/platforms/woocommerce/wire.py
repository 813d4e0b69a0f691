"""The wire format of WooCommerce's REST API: endpoints, requested fields, and values as a store writes them.

API reference: https://woocommerce.github.io/woocommerce-rest-api-docs/#products and #product-variations.

A row field without a default is required: a record that lacks the field is rejected instead of being stored with a
guess. No row is ever part of a reference cycle, so the garbage collector need not track rows (`gc=False`).
"""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from connector_svc.domain.records import SAMPLE_LENGTH, Code, Fault, InvalidRecord, IssueReason, Text

API_ROOT: Final = "/wp-json"
PRODUCTS_PATH: Final = "/wp-json/wc/v3/products"
PER_PAGE: Final = 100
"""Rows of a full page; WordPress allows no more."""

ORDER_BY_ID: Final = (("orderby", "id"), ("order", "asc"))
"""Query parameters that order a list by id."""
UNDELIVERED_STATUSES: Final = frozenset({"trash", "auto-draft"})
"""Statuses of products that no full pass delivers."""

RecordId: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Quantity: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class VariationRoute(Enum):
    """An endpoint that lists variations; the preferred one first. The values are stored in checkpoints."""

    OFFICIAL = "/wp-json/wc/v3/variations"
    """Variations of many products; WooCommerce 10.3 and later."""
    ANALYTICS = "/wp-json/wc-analytics/variations"
    """The same list for WooCommerce's own dashboard: marked internal, exists before 10.3, accepts the same key."""
    PER_PRODUCT = "/wp-json/wc/v3/products/{id}/variations"
    """Variations of one product; exists in every version."""

    @property
    def is_bulk(self) -> bool:
        """Whether one request lists the variations of many products."""
        return self is not VariationRoute.PER_PRODUCT

    def fallback(self) -> VariationRoute:
        """Return the route to try when this one is not usable."""
        return VariationRoute.ANALYTICS if self is VariationRoute.OFFICIAL else VariationRoute.PER_PRODUCT

    def path(self, product_id: int) -> str:
        """Return the path for the variations of one product."""
        return self.value.format(id=product_id)

    def describe(self) -> str:
        """Return a description for people."""
        if self is VariationRoute.PER_PRODUCT:
            return "variations product by product"
        return f"variations of many products at once from {self.value.removeprefix('/wp-json/')}"


class ImageRow(msgspec.Struct, kw_only=True, gc=False):
    """An image of the media library."""

    id: int = 0
    src: str = ""
    alt: str | None = ""
    date_modified_gmt: str | None = ""
    """Of the entry in the media library, also of its alt text. Replacing the file by a plugin keeps `src`."""


class AttributeRow(msgspec.Struct, kw_only=True, gc=False):
    """A product attribute with all its values."""

    name: str = ""
    options: list[str] = []
    variation: bool = False
    """Whether the product's variations differ in this attribute."""


class VariationAttributeRow(msgspec.Struct, kw_only=True, gc=False):
    """A variation's value of an attribute. An attribute for which any value is valid is missing from the list."""

    name: str = ""
    option: str = ""


class TagRow(msgspec.Struct, kw_only=True, gc=False):
    """A product tag."""

    name: str = ""


class IdRow(msgspec.Struct, kw_only=True, gc=False):
    """The part that all records have."""

    id: RecordId


class SellableRow(IdRow, kw_only=True, gc=False):
    """The fields that products and variations have in common."""

    status: str
    sku: Code
    price: str
    """Current price; empty: none."""
    manage_stock: bool | Literal["parent"]
    """"parent" (variations only): `stock_quantity` is the parent's own number."""
    stock_quantity: Quantity | None
    stock_status: str
    regular_price: str = ""
    sale_price: str = ""
    backorders: str = "no"
    purchasable: bool = True
    """According to the store with all its plugins; a draft is purchasable for users who may edit it."""
    weight: str = ""
    global_unique_id: Code = ""
    """GTIN, UPC, EAN or ISBN; since WooCommerce 9.2."""
    date_created_gmt: datetime | None = None
    """UTC without a zone. None for a draft that was never published."""
    date_modified_gmt: datetime | None = None


class ProductRow(SellableRow, kw_only=True, gc=False):
    """An entry of `/wc/v3/products`."""

    name: Text
    type: Text
    variations: list[int] | dict[str, int]
    """Ids. PHP encodes an array with gaps as an object."""
    slug: Text = ""
    permalink: Text | bool = ""
    """False when WordPress cannot build the link."""
    catalog_visibility: str = "visible"
    description: str = ""
    images: list[ImageRow] = []
    attributes: list[AttributeRow] = []
    tags: list[TagRow] = []

    def child_ids(self) -> tuple[int, ...]:
        """Return the ids of the variations in the order of the store's editor, disabled variations included."""
        return distinct_child_ids(self.variations)

    def is_variable(self) -> bool:
        """Return whether the variations are sold instead of the product; true for "variable-subscription" too."""
        return self.type == "variable" or self.type.startswith("variable-") or bool(self.variations)


class VariationRow(SellableRow, kw_only=True, gc=False):
    """An entry of a list of variations."""

    parent_id: int | None = None
    """Absent from the per-product lists before WooCommerce 10.3."""
    image: ImageRow | None = None
    """The variation's own image, else the parent's."""
    attributes: list[VariationAttributeRow] = []


OPTIONAL_FIELDS: Final = frozenset(
    {
        "weight",
        "purchasable",
        "global_unique_id",
        "date_created_gmt",
        "date_modified_gmt",
        "slug",
        "permalink",
        "catalog_visibility",
        "description",
        "images",
        "image",
        "attributes",
        "tags",
    }
)
"""Fields that are left empty when their value is invalid; an invalid value elsewhere rejects the record."""

PRODUCT_FIELDS: Final = ",".join(ProductRow.__struct_fields__)
"""Only `images` costs the store database queries; related_ids, meta_data, price_html, on_sale would cost many."""

VARIATION_FIELDS: Final = ",".join(VariationRow.__struct_fields__)

_OFFER_FIELDS: Final = (
    "id,status,sku,price,regular_price,sale_price,purchasable,manage_stock,stock_quantity,stock_status"
)
STOCK_FIELDS: Final = f"{_OFFER_FIELDS},name,type,variations"
"""Product fields of a stock scan: those that cost the store no query of their own."""

VARIATION_STOCK_FIELDS: Final = f"{_OFFER_FIELDS},parent_id"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - stores send times without a zone
_DECIMAL: Final = re.compile(r"(?:\d{1,24}(?:\.\d{0,24})?|\.\d{1,24})", re.ASCII)


def distinct_child_ids(variations: list[int] | dict[str, int]) -> tuple[int, ...]:
    """Return the ids of a `variations` field in their order, each once."""
    return tuple(dict.fromkeys(variations.values() if isinstance(variations, dict) else variations))


def unescape_html(text: str) -> str:
    """Return `text` with HTML entities decoded once; tags stay as they are."""
    return html.unescape(text) if "&" in text else text


def parse_price(text: str, field: str) -> Decimal | None:
    """Return the price with the store's own digits; None: no price. Raise InvalidRecord for any other text."""
    if not text:
        return None
    price = parse_decimal(text)
    if price is None:
        raise InvalidRecord(_invalid_value(IssueReason.INVALID_PRICE, field, "is not a price", text))
    return price


def parse_decimal(text: str) -> Decimal | None:
    """Return the number with the digits of `text`; None: `text` is not a plain number, or negative."""
    return Decimal(text) if _DECIMAL.fullmatch(text) else None


def to_utc(moment: datetime | None, field: str = "date_modified_gmt") -> datetime | None:
    """Return `moment` in UTC; without a zone it is UTC already. Raise InvalidRecord outside the calendar."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        # A quarter of the cost of `replace`, which would run twice for every variant.
        return _EPOCH + (moment - _NAIVE_EPOCH)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidRecord(
            _invalid_value(IssueReason.INVALID_FIELD, field, "is outside the calendar", str(moment))
        ) from None


def _invalid_value(reason: IssueReason, field: str, problem: str, value: str) -> Fault:
    return Fault(reason=reason, field=field, message=f'"{field}" {problem}.', sample=value[:SAMPLE_LENGTH])
