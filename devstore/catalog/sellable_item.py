"""The oracle: what a correct sync of a shop must end up with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from devstore.catalog.model import Kind, Offer, Platform, Product, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class SellableItem:
    """One item as the platform's API shows it: a Shopify variant, a WooCommerce variation or simple product."""

    product_id: str
    """The platform's number as text."""
    item_id: str
    """The platform's number as text; a WooCommerce product without variations is its own item."""
    product_gid: str
    """Shopify's global id; "" on WooCommerce."""
    item_gid: str
    kind: str
    """variant, variation, simple or external."""
    sku: str
    """As the API shows it: a variation without an own SKU shows its parent's."""
    barcode: str
    price: Decimal | None
    compare_at: Decimal | None
    stock: int | None
    """None when the platform does not count it; the parent's number where the parent counts."""
    status: str
    """The product's status."""
    product_title: str
    """As stored, with HTML entities on WooCommerce."""
    title: str
    """The variant's own title; "" for a WooCommerce product without variations."""
    updated_at: str
    """The item's own time of change, UTC."""


def items_of(platform: Platform, product: Product) -> Iterator[SellableItem]:
    """The items of one product: none for trashed and variation-less variable ones."""
    if product.status == "trash":
        return
    if product.kind is not Kind.VARIABLE:
        yield _item(platform, product, product, product.kind.value)
        # What WooCommerce keeps of the time when it was variable is not sold.
        return
    for variant in product.variants:
        yield _item(platform, product, variant, "variation" if platform is Platform.WOOCOMMERCE else "variant")


def _item(platform: Platform, product: Product, sold: Product | Variant, kind: str) -> SellableItem:
    gids, woo = platform is Platform.SHOPIFY, platform is Platform.WOOCOMMERCE
    return SellableItem(
        product_id=str(product.id),
        item_id=str(sold.id),
        product_gid=f"gid://shopify/Product/{product.id}" if gids else "",
        item_gid=f"gid://shopify/ProductVariant/{sold.id}" if gids else "",
        kind=kind,
        sku=sold.sku or (product.sku if woo else ""),
        barcode="" if woo else sold.barcode,
        price=_shown(platform, sold.price),
        compare_at=_shown(platform, sold.compare_at),
        stock=shown_stock(product, sold),
        status=product.status,
        product_title=product.title,
        title=sold.title if isinstance(sold, Variant) else "",
        updated_at=sold.updated.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def shown_stock(product: Product, sold: Offer) -> int | None:
    """The stock number an API shows for what is sold."""
    return product.stock if sold.shares_stock else sold.stock


def json_digits(text: str) -> str:
    """A stored decimal as a JSON number shows it: without the zeros at its end."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def _shown(platform: Platform, text: str) -> Decimal | None:
    return amount(json_digits(text) if platform is Platform.BIGCOMMERCE else text)


def amount(text: str) -> Decimal | None:
    """Money from its text; None where none is set."""
    return Decimal(text) if text else None
