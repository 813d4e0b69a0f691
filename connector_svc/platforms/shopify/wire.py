"""The shapes of the Admin API's replies, as far as we read them; strict, so that decoding is the validation."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Generic, TypeVar

import msgspec

from connector_svc.domain.product import InventoryPolicy, ProductOption, ProductStatus, SelectedOption
from connector_svc.domain.records import Code, Text
from connector_svc.platforms.shopify.ids import number_of

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Time = Annotated[datetime, msgspec.Meta(tz=True)]

NodeT = TypeVar("NodeT")


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A struct in camelCase; never part of a reference cycle, which spares the collector the walk."""


class Count(Wire, frozen=True, kw_only=True):
    """A count that may be a lower bound."""

    count: Int64
    precision: str = "EXACT"

    def agrees_with(self, received: int) -> bool:
        """Whether `received` can be all of them."""
        return received == self.count if self.precision == "EXACT" else received >= self.count


class PageInfo(Wire, frozen=True, kw_only=True):
    """Whether and where a connection goes on."""

    has_next_page: bool
    end_cursor: str | None = None


class Connection(Wire, Generic[NodeT], frozen=True, kw_only=True):
    """One page of a connection."""

    nodes: list[NodeT]
    page_info: PageInfo = PageInfo(has_next_page=False)


class IdNode(Wire, frozen=True, kw_only=True):
    """Whatever has an id."""

    id: str


class ImageNode(Wire, frozen=True, kw_only=True):
    """A picture that is ready to be shown."""

    url: str
    width: Int32 | None = None
    height: Int32 | None = None


class MediaNode(Wire, frozen=True, kw_only=True):
    """A medium; `image` is None until Shopify has processed it, and for other media than images."""

    id: str
    alt: str | None = None
    image: ImageNode | None = None


class WeightNode(Wire, frozen=True, kw_only=True):
    """A weight; the number is read as it is written, never through a float."""

    value: Decimal
    unit: str


class MeasurementNode(Wire, frozen=True, kw_only=True):
    """The measures of an inventory item."""

    weight: WeightNode | None = None


class InventoryItemNode(Wire, frozen=True, kw_only=True):
    """What the stock room knows of a variant."""

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
    """A Product with variants of type NodeT: typed, or raw when one of them is broken."""

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
    """`data` of nodes that were asked for by their ids; raw, since each may be null."""

    nodes: list[NodeT]


class SingleData(Wire, Generic[NodeT], frozen=True, kw_only=True):
    """`data` of one product; raw, since it may be null."""

    product: NodeT


class CurrencyNode(Wire, frozen=True, kw_only=True):
    """What the Shop's prices mean."""

    currency_code: str


class CountData(Wire, frozen=True, kw_only=True):
    """`data` of a count."""

    shop: CurrencyNode
    products_count: Count


class EventNode(Wire, frozen=True, kw_only=True):
    """An entry of the event log; only basic events have more than an id."""

    id: str
    action: str = ""
    subject_type: str = ""
    subject_id: str = ""

    @property
    def destroyed_product(self) -> str:
        """The number of the product whose deletion it tells; empty when it tells something else."""
        if (self.action, self.subject_type) != ("destroy", "PRODUCT"):
            return ""
        return number_of(self.subject_id, "Product")


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


class OpeningData(Wire, frozen=True, kw_only=True):
    """`data` of the first query of a pass."""

    shop: ShopNode
    current_app_installation: InstallationNode
    products_count: Count | None = None
    product_variants_count: Count | None = None
