"""What a store sends: only the fields that we ask for, under the store's own names.

A field without a default is vital: a record that lacks it is set aside instead of being stored with a guess. No
row is ever part of a reference cycle, which spares the collector the walk (`gc=False`).


The ways to list variations, the best first.

Reads single values as a store writes them."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from connector_svc.domain.fault import Fault, InvalidRecord
from connector_svc.domain.issue import SAMPLE_LENGTH, IssueReason
from connector_svc.domain.text import Code, Text

RecordId: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Quantity: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class ImageRow(msgspec.Struct, kw_only=True, gc=False):
    """A picture in the media library."""

    id: int = 0
    src: str = ""
    alt: str | None = ""


class AttributeRow(msgspec.Struct, kw_only=True, gc=False):
    """An attribute of a product with all its values."""

    name: str = ""
    options: list[str] = []
    variation: bool = False
    """Whether variations differ in it."""


class ChoiceRow(msgspec.Struct, kw_only=True, gc=False):
    """A variation's value of an attribute; one that stands for any value is missing from the list."""

    name: str = ""
    option: str = ""


class TagRow(msgspec.Struct, kw_only=True, gc=False):
    """A product's tag."""

    name: str = ""


class IdRow(msgspec.Struct, kw_only=True, gc=False):
    """Any record."""

    id: RecordId


class GoodsRow(IdRow, kw_only=True, gc=False):
    """What a product and a variation have in common."""

    status: str
    sku: Code
    price: str
    """What is asked now; empty: it has none."""
    manage_stock: bool | Literal["parent"]
    """In a variation also "parent": then `stock_quantity` is the parent's own number."""
    stock_quantity: Quantity | None
    stock_status: str
    regular_price: str = ""
    sale_price: str = ""
    backorders: str = "no"
    purchasable: bool = True
    """What the store, with all its plugins, says; a draft is purchasable for those who may edit it."""
    weight: str = ""
    global_unique_id: Code = ""
    """GTIN, UPC, EAN or ISBN; since WooCommerce 9.2."""
    date_created_gmt: datetime | None = None
    """Without a zone: UTC. None for a draft that was never published."""
    date_modified_gmt: datetime | None = None


class ProductRow(GoodsRow, kw_only=True, gc=False):
    """An entry of `/wc/v3/products`."""

    name: Text
    type: Text
    variations: list[int] | dict[str, int]
    """Ids; PHP makes an object of a list with gaps."""
    slug: Text = ""
    permalink: Text | bool = ""
    """False when WordPress cannot make one."""
    catalog_visibility: str = "visible"
    description: str = ""
    images: list[ImageRow] = []
    attributes: list[AttributeRow] = []
    tags: list[TagRow] = []

    def child_ids(self) -> tuple[int, ...]:
        """The variations in the order of the store's editor, disabled ones included."""
        listed = self.variations.values() if isinstance(self.variations, dict) else self.variations
        return tuple(dict.fromkeys(listed))

    def is_variable(self) -> bool:
        """Whether its variations are sold instead of itself; so it is with "variable-subscription" too."""
        return self.type == "variable" or self.type.startswith("variable-") or bool(self.variations)


class VariationRow(GoodsRow, kw_only=True, gc=False):
    """An entry of a list of variations."""

    parent_id: int | None = None
    """Absent from the lists of one product before WooCommerce 10.3."""
    image: ImageRow | None = None
    """Its own, else the parent's."""
    attributes: list[ChoiceRow] = []


DECORATION: Final = frozenset(
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
"""Fields without which a record is still worth storing."""

PRODUCT_FIELDS: Final = ",".join(ProductRow.__struct_fields__)
"""Only `images` cost the store queries; related_ids, meta_data, price_html and on_sale would cost many."""

VARIATION_FIELDS: Final = ",".join(VariationRow.__struct_fields__)

_OFFER_FIELDS: Final = (
    "id,status,sku,price,regular_price,sale_price,purchasable,manage_stock,stock_quantity,stock_status"
)
STOCK_FIELDS: Final = f"{_OFFER_FIELDS},name,type,variations"
"""Of a product, for a sweep: what costs the store no query of its own."""

VARIATION_STOCK_FIELDS: Final = f"{_OFFER_FIELDS},parent_id"


class Route(Enum):
    """Where variations are listed."""

    OFFICIAL = "/wp-json/wc/v3/variations"
    """Of many products at once; WooCommerce 10.3 and later."""
    ANALYTICS = "/wp-json/wc-analytics/variations"
    """The same from WooCommerce's own dashboard, marked internal; there before 10.3, with the same key."""
    PER_PRODUCT = "/wp-json/wc/v3/products/{id}/variations"
    """Of one product; always there."""

    @property
    def is_bulk(self) -> bool:
        """Whether one call answers for many products."""
        return self is not Route.PER_PRODUCT

    def next(self) -> Route:
        """The one to try when this is not there."""
        return Route.ANALYTICS if self is Route.OFFICIAL else Route.PER_PRODUCT

    def of(self, product_id: int) -> str:
        """The path for one product."""
        return self.value.format(id=product_id)

    def describe(self) -> str:
        """For people."""
        if self is Route.PER_PRODUCT:
            return "variations product by product"
        return f"variations of many products at once from {self.value.removeprefix('/wp-json/')}"


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_WITHOUT_ZONE: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - it stands for what stores send
_DECIMAL: Final = re.compile(r"(?:\d{1,24}(?:\.\d{0,24})?|\.\d{1,24})", re.ASCII)


def unescaped(text: str) -> str:
    """`text` as people read it: entities decoded once, tags left as they are."""
    return html.unescape(text) if "&" in text else text


def price_of(text: str, field: str) -> Decimal | None:
    """With the store's own digits; None: no price."""
    if not text:
        return None
    price = decimal_of(text)
    if price is None:
        raise InvalidRecord(_wrong(IssueReason.INVALID_PRICE, field, "is no price", text))
    return price


def decimal_of(text: str) -> Decimal | None:
    """With the digits of `text`; None: it is no plain number, or negative."""
    return Decimal(text) if _DECIMAL.fullmatch(text) else None


def utc(moment: datetime | None, field: str = "date_modified_gmt") -> datetime | None:
    """`moment`, which is UTC already unless it says otherwise. Raises InvalidRecord outside the calendar."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        # A quarter of what `replace` costs, twice for every variant.
        return _EPOCH + (moment - _EPOCH_WITHOUT_ZONE)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidRecord(
            _wrong(IssueReason.INVALID_FIELD, field, "is outside the calendar", str(moment))
        ) from None


def _wrong(reason: IssueReason, field: str, how: str, value: str) -> Fault:
    return Fault(reason=reason, field=field, message=f'"{field}" {how}.', sample=value[:SAMPLE_LENGTH])
