"""Products and variants as a catalog holds them; a platform's API turns them into its JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TypedDict


class Platform(Enum):
    """The platform whose API a shop serves."""

    SHOPIFY = "shopify"
    """Admin GraphQL."""
    WOOCOMMERCE = "woocommerce"
    """REST wc/v3."""
    BIGCOMMERCE = "bigcommerce"
    """REST V3."""
    FEED = "feed"
    """Signed files in the format of docs/custom-feed.md."""

    @property
    def sells_variants_only(self) -> bool:
        """Whether every product has at least one variant, and only variants are sold."""
        return self is not Platform.WOOCOMMERCE


class Kind(Enum):
    """A kind of product, in WooCommerce's words; on the other platforms every product is VARIABLE."""

    SIMPLE = "simple"
    """Sold without variants: the product is its own item."""
    VARIABLE = "variable"
    """Sold only through its variants."""
    GROUPED = "grouped"
    """A page that lists other products and has nothing of its own to sell."""
    EXTERNAL = "external"
    """Sold on another site."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image; its colours depend on its id, its shape on the product type (`pictures.product_picture`)."""

    id: int
    alt: str
    changed: datetime
    """When its picture was uploaded or replaced."""

    @property
    def changed_seconds(self) -> int:
        """Since the epoch; BigCommerce and Shopify put them into the URL."""
        return int(self.changed.timestamp())


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The fields that everything sold has, product or variant. Money is text, exactly as stored."""

    sku: str = ""
    barcode: str = ""
    price: str = ""
    """"" means that no price is set, which differs from a price of zero."""
    compare_at: str = ""
    """The price before a reduction; WooCommerce shows it as regular_price and `price` as sale_price."""
    stock: int | None = None
    """None: stock is not tracked. May be negative."""
    shares_stock: bool = False
    """Whether stock is tracked by the parent product (WooCommerce: manage_stock "parent")."""
    oversell: bool = False
    """Whether the item may be sold when it is out of stock."""
    weight: str = ""
    weight_unit: str = "KILOGRAMS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant(Offer):
    """A variant of a product (WooCommerce: a variation)."""

    id: int
    product_id: int
    title: str
    options: tuple[tuple[str, str], ...]
    """Pairs of option name and chosen value, in the product's option order."""
    image_id: int | None = None
    status: str = "publish"
    """publish, or private when the variant is disabled (WooCommerce) or cannot be purchased (BigCommerce)."""
    created: datetime
    updated: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Product(Offer):
    """A product with all its variants. The fields of Offer matter only where the product itself is sold."""

    id: int
    kind: Kind
    title: str
    handle: str
    description: str = ""
    vendor: str = ""
    product_type: str = ""
    tags: tuple[str, ...] = ()
    status: str
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Option names with their values, in order."""
    images: tuple[Image, ...] = ()
    variants: tuple[Variant, ...] = ()
    linked: tuple[int, ...] = ()
    """Ids of the products a GROUPED one lists."""
    created: datetime
    updated: datetime


class OfferChanges(TypedDict, total=False):
    """The fields of products and variants that may be changed."""

    sku: str
    barcode: str
    price: str
    compare_at: str
    stock: int | None
    shares_stock: bool
    oversell: bool
    weight: str
    weight_unit: str
    title: str
    status: str


class ProductChanges(OfferChanges, total=False):
    """The fields of a product that may be changed."""

    kind: Kind
    handle: str
    description: str
    vendor: str
    product_type: str
    tags: tuple[str, ...]
    options: tuple[tuple[str, tuple[str, ...]], ...]
    images: tuple[Image, ...]
    linked: tuple[int, ...]


class VariantChanges(OfferChanges, total=False):
    """The fields of a variant that may be changed."""

    options: tuple[tuple[str, str], ...]
    image_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductRow:
    """A row of the catalog's index: what lists are sorted and filtered by, without building the product.

    Times are whole seconds since the epoch.
    """

    id: int
    kind: Kind
    status: str
    created: int
    updated: int
    variant_ids: Sequence[int]

    @classmethod
    def of(cls, product: Product) -> ProductRow:
        return cls(
            id=product.id,
            kind=product.kind,
            status=product.status,
            created=int(product.created.timestamp()),
            updated=int(product.updated.timestamp()),
            variant_ids=tuple(variant.id for variant in product.variants),
        )
