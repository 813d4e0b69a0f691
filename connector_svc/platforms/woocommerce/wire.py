"""What a store sends: only the fields that we ask for, under the store's own names.

A field without a default is vital: a record that lacks it is set aside instead of being stored with a guess. No
row is ever part of a reference cycle, which spares the collector the walk (`gc=False`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from connector_svc.domain.records import Code, Text

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
