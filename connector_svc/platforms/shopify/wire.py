"""The shapes of the Admin API's responses, as far as we read them; strict, so that decoding is the validation."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Generic, TypeVar

import msgspec

from connector_svc.domain.product import InventoryPolicy, ProductOption, ProductStatus, SelectedOption
from connector_svc.domain.records import Code, Text

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Time = Annotated[datetime, msgspec.Meta(tz=True)]

NodeT = TypeVar("NodeT")

_MAX_ID_DIGITS = 19
"""A signed 64-bit number has no more."""


def numeric_id(gid: str, kind: str) -> str:
    """Return the number at the end of a gid: "123" of "gid://shopify/Product/123"; empty when `gid` is not valid.

    It is the id that Shopify's admin, REST API and exports show.
    """
    head, _, number = gid.rpartition("/")
    if head == f"gid://shopify/{kind}" and len(number) <= _MAX_ID_DIGITS and number.isascii() and number.isdigit():
        return number
    return ""


def product_gid(product_id: str) -> str:
    """Return the gid of a product's numeric id."""
    return f"gid://shopify/Product/{product_id}"


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A struct with camelCase names; never part of a reference cycle, so the collector need not track it."""


class Count(Wire, frozen=True, kw_only=True):
    """A count that may be a lower bound."""

    count: Int64
    precision: str = "EXACT"

    def agrees_with(self, received: int) -> bool:
        """Return whether `received` can be all of them."""
        return received == self.count if self.precision == "EXACT" else received >= self.count


class PageInfo(Wire, frozen=True, kw_only=True):
    """Whether and where a connection continues."""

    has_next_page: bool
    end_cursor: str | None = None


class Connection(Wire, Generic[NodeT], frozen=True, kw_only=True):
    """One page of a connection."""

    nodes: list[NodeT]
    page_info: PageInfo = PageInfo(has_next_page=False)


class IdNode(Wire, frozen=True, kw_only=True):
    """A node of which only the id is read."""

    id: str


class ImageNode(Wire, frozen=True, kw_only=True):
    """An image that Shopify has processed."""

    url: str
    width: Int32 | None = None
    height: Int32 | None = None


class MediaNode(Wire, frozen=True, kw_only=True):
    """A Media node; `image` is None until Shopify has processed it, and for media that are not images."""

    id: str
    alt: str | None = None
    image: ImageNode | None = None


class WeightNode(Wire, frozen=True, kw_only=True):
    """A Weight; the number is decoded as it is written, never through a float."""

    value: Decimal
    unit: str


class MeasurementNode(Wire, frozen=True, kw_only=True):
    """An InventoryItemMeasurement."""

    weight: WeightNode | None = None


class InventoryItemNode(Wire, frozen=True, kw_only=True):
    """The InventoryItem of a variant."""

    tracked: bool
    measurement: MeasurementNode | None = None


class VariantNode(Wire, frozen=True, kw_only=True):
    """A ProductVariant."""

    id: str
    title: Text
    sku: Code | None
    barcode: Code | None
    price: Decimal
    compare_at_price: Decimal | None
    inventory_quantity: Int64 | None
    inventory_policy: InventoryPolicy
    available_for_sale: bool
    position: Int32
    created_at: Time
    updated_at: Time
    selected_options: tuple[SelectedOption, ...]
    media: Connection[IdNode]
    inventory_item: InventoryItemNode | None = None


class ProductNode(Wire, Generic[NodeT], frozen=True, kw_only=True):
    """A Product with variants of type NodeT: typed, or raw when one of them is invalid."""

    id: str
    title: Text
    handle: Text
    description_html: str
    vendor: Text
    product_type: Text
    tags: tuple[str, ...]
    status: ProductStatus
    online_store_url: Text | None
    created_at: Time
    updated_at: Time
    options: tuple[ProductOption, ...]
    variants_count: Count | None
    media: Connection[MediaNode]
    variants: Connection[NodeT]


TypedProduct = ProductNode[VariantNode]


class PageData(Wire, Generic[NodeT], frozen=True, kw_only=True):
    """`data` of a page of products."""

    products: Connection[NodeT]


class ListData(Wire, Generic[NodeT], frozen=True, kw_only=True):
    """`data` of `nodes(ids:)`; NodeT is optional or raw, since each node may be null."""

    nodes: list[NodeT]


class SingleData(Wire, Generic[NodeT], frozen=True, kw_only=True):
    """`data` of one product; NodeT is optional or raw, since it may be null."""

    product: NodeT


class CurrencyNode(Wire, frozen=True, kw_only=True):
    """The Shop's currency."""

    currency_code: str


class CountData(Wire, frozen=True, kw_only=True):
    """`data` of a product count."""

    shop: CurrencyNode
    products_count: Count


class EventNode(Wire, frozen=True, kw_only=True):
    """An Event; only a BasicEvent has more than an id."""

    id: str
    action: str = ""
    subject_type: str = ""
    subject_id: str = ""

    @property
    def deleted_product_id(self) -> str:
        """The numeric id of the product whose deletion the event reports; empty for any other event."""
        if (self.action, self.subject_type) != ("destroy", "PRODUCT"):
            return ""
        return numeric_id(self.subject_id, "Product")


class EventsData(Wire, frozen=True, kw_only=True):
    """`data` of a page of events."""

    events: Connection[EventNode]


class ShopNode(Wire, frozen=True, kw_only=True):
    """The Shop."""

    id: str
    name: str
    myshopify_domain: str
    currency_code: str


class ScopeNode(Wire, frozen=True, kw_only=True):
    """An access scope."""

    handle: str


class InstallationNode(Wire, frozen=True, kw_only=True):
    """Our app in this shop."""

    access_scopes: list[ScopeNode]


class PassStartData(Wire, frozen=True, kw_only=True):
    """`data` of the first query of a pass."""

    shop: ShopNode
    current_app_installation: InstallationNode
    products_count: Count | None = None
    product_variants_count: Count | None = None
