"""The oracle: the sellable items that a correct sync of a shop ends up with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from devstore.catalog.model import Kind, Offer, Platform, Product, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class SellableItem:
    """One item as the platform's API shows it: a variant, or a WooCommerce variation or simple product."""

    product_id: str
    """The platform's numeric id as text."""
    item_id: str
    """The platform's numeric id as text; a WooCommerce product without variations is its own item."""
    product_gid: str
    """Shopify's global id; "" on other platforms."""
    item_gid: str
    kind: str
    """variant, variation, simple, grouped or external."""
    sku: str
    """As the API shows it: a WooCommerce variation without a SKU shows its parent's."""
    barcode: str
    price: Decimal | None
    compare_at: Decimal | None
    stock: int | None
    """None when stock is not tracked; the parent's number where the parent tracks it."""
    status: str
    """The product's status."""
    product_title: str
    """As stored, with HTML entities on WooCommerce."""
    title: str
    """The variant's own title; "" for a WooCommerce product without variations."""
    updated_at: str
    """The item's own modification time in UTC, as 2026-11-20T10:00:00Z."""


def items_of(platform: Platform, product: Product) -> Iterator[SellableItem]:
    """Yield the items of one product: none for a trashed product or a variable one without variations."""
    if product.status == "trash":
        return
    if product.kind is not Kind.VARIABLE:
        yield _item(platform, product, product, product.kind.value)
        # WooCommerce keeps the variations of a product that is no longer variable; they are not sold.
        return
    for variant in product.variants:
        yield _item(platform, product, variant, "variation" if platform is Platform.WOOCOMMERCE else "variant")


def _item(platform: Platform, product: Product, offer: Product | Variant, kind: str) -> SellableItem:
    gids, woo = platform is Platform.SHOPIFY, platform is Platform.WOOCOMMERCE
    return SellableItem(
        product_id=str(product.id),
        item_id=str(offer.id),
        product_gid=f"gid://shopify/Product/{product.id}" if gids else "",
        item_gid=f"gid://shopify/ProductVariant/{offer.id}" if gids else "",
        kind=kind,
        sku=offer.sku or (product.sku if woo else ""),
        barcode="" if woo else offer.barcode,
        price=_amount(platform, offer.price),
        compare_at=_amount(platform, offer.compare_at),
        stock=shown_stock(product, offer),
        status=product.status,
        product_title=product.title,
        title=offer.title if isinstance(offer, Variant) else "",
        updated_at=offer.updated.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def shown_stock(product: Product, offer: Offer) -> int | None:
    """Return the stock that an API shows for `offer`, which is `product` itself or one of its variants."""
    return product.stock if offer.shares_stock else offer.stock


def json_digits(text: str) -> str:
    """Return a stored decimal as a JSON number: without trailing zeros."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def _amount(platform: Platform, text: str) -> Decimal | None:
    return amount(json_digits(text) if platform is Platform.BIGCOMMERCE else text)


def amount(text: str) -> Decimal | None:
    """Parse money; None for ""."""
    return Decimal(text) if text else None
