"""Products and variants as the store keeps them; a face turns them into a platform's JSON.

The few facts about a product that lists are ordered and filtered by, without building the product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TypedDict


class Platform(Enum):
    """Whose API a shop speaks."""

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
        """Whether every product has at least one variant, which is what is sold."""
        return self is not Platform.WOOCOMMERCE


class Kind(Enum):
    """What a product is; Shopify knows only VARIABLE, where every product has at least one variant."""

    SIMPLE = "simple"
    """Sold as it is: the product is its own item."""
    VARIABLE = "variable"
    """Sold by its variants alone."""
    GROUPED = "grouped"
    """A page that lists other products; nothing of its own to sell."""
    EXTERNAL = "external"
    """Sold on somebody else's site."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A picture; its colour follows from its id."""

    id: int
    alt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What can be said of anything that is sold, product or variant. Money is text, exactly as stored."""

    sku: str = ""
    barcode: str = ""
    price: str = ""
    """"" means that no price is set, which is not a price of zero."""
    compare_at: str = ""
    """The struck-through price; WooCommerce shows it as regular_price and `price` as sale_price."""
    stock: int | None = None
    """None: the platform does not count it. May be negative."""
    shares_stock: bool = False
    """The parent product counts the stock (WooCommerce's manage_stock "parent")."""
    oversell: bool = False
    weight: str = ""
    weight_unit: str = "KILOGRAMS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant(Offer):
    """One sellable form of a product."""

    id: int
    product_id: int
    title: str
    options: tuple[tuple[str, str], ...]
    """Pairs of option name and chosen value, in the product's option order."""
    image_id: int | None = None
    status: str = "publish"
    """WooCommerce's own status of a variation: publish, or private when it is disabled."""
    created: datetime
    updated: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Product(Offer):
    """A product with all its variants. The Offer fields count only where the product itself is sold."""

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
    """The fields that products and variants share, each optional."""

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
    """What may be changed in a product."""

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
    """What may be changed in a variant."""

    options: tuple[tuple[str, str], ...]
    image_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the catalog's index. Times are whole seconds since the epoch."""

    id: int
    kind: Kind
    status: str
    created: int
    updated: int
    variant_ids: Sequence[int]

    @classmethod
    def of(cls, product: Product) -> Row:
        return cls(
            id=product.id,
            kind=product.kind,
            status=product.status,
            created=int(product.created.timestamp()),
            updated=int(product.updated.timestamp()),
            variant_ids=tuple(variant.id for variant in product.variants),
        )
