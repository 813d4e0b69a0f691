"""Edge-case products: generated products with values that break connectors, in a fixed order per platform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from devstore.catalog.ids import VARIANTS_PER_PRODUCT
from devstore.catalog.model import Kind, Platform, Product

Change = Callable[[Product], Product]


def unchanged(product: Product) -> Product:
    """Return the product as it is: for an edge case that only consists of its kind, status or variant count."""
    return product


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeCase:
    """How one generated product differs from an ordinary one."""

    name: str
    """What a test asks for: `catalog.edge_case("variants-600")`."""
    title: str
    variants: int | None = None
    """The number of variants; None: as many as an ordinary product."""
    kind: Kind | None = None
    status: str | None = None
    change: Change = unchanged
    """Applied after the product and its variants are built. Must keep ids, kind and status."""


def _variants(**fields: object) -> Change:
    """Return a change that sets `fields` on every variant."""

    def change(product: Product) -> Product:
        variants = tuple(replace(variant, **fields) for variant in product.variants)  # type: ignore[arg-type]
        return replace(product, variants=variants)

    return change


def _product(**fields: object) -> Change:
    """Return a change that sets `fields` on the product itself."""
    return lambda product: replace(product, **fields)  # type: ignore[arg-type]


def _without_images(product: Product) -> Product:
    return replace(_variants(image_id=None)(product), images=())


_LEADING_ZERO_CODES = _variants(sku="000123", barcode="0012345678905")
_ROUND_PRICE = _variants(price="20.00", compare_at="")
_REDUCED_PRICE = _variants(price="19.90", compare_at="29.90")
_UNTRACKED = _variants(stock=None)


# -- Shopify, and custom feeds

_SHOPIFY = (
    EdgeCase(name="variants-600", title="Every Thread Shirt", variants=600),
    EdgeCase(name="variants-250", title="Full Page Shirt", variants=250),
    EdgeCase(name="variants-100", title="Old Limit Shirt", variants=100),
    EdgeCase(name="no-images", title="Unphotographed Scarf", change=_without_images),
    EdgeCase(name="unlisted", title="Secret Drop Cap", status="UNLISTED"),
    EdgeCase(name="archived", title="Last Year's Parka", status="ARCHIVED"),
    EdgeCase(name="draft", title="Next Year's Parka", status="DRAFT"),
    EdgeCase(
        name="negative-stock", title="Oversold Umbrella", variants=1, change=_variants(stock=-3, oversell=True)
    ),
    EdgeCase(name="untracked", title="Gift Wrapping", variants=1, change=_UNTRACKED),
    EdgeCase(name="compare-at", title="Reduced Rug", variants=2, change=_REDUCED_PRICE),
    EdgeCase(name="leading-zero-sku", title="Zero Zero Tin", variants=1, change=_LEADING_ZERO_CODES),
    EdgeCase(name="trailing-zeros", title="Round Price Bowl", variants=1, change=_ROUND_PRICE),
    EdgeCase(
        name="fractional-weight",
        title="Half a Kilo of Coffee",
        variants=1,
        change=_variants(weight="0.5", weight_unit="KILOGRAMS"),
    ),
    EdgeCase(
        name="bare",
        title="Sticker ✂️ “Free” ﷽ 你好",
        variants=1,
        change=_variants(sku="", barcode="", price="0.00", compare_at=""),
    ),
)


# -- BigCommerce


def _counted_by_product(product: Product) -> Product:
    return replace(_variants(stock=None, shares_stock=True)(product), stock=17)


_BIGCOMMERCE = (
    EdgeCase(name="variants-600", title="Every Thread Shirt", variants=600),
    EdgeCase(name="variants-251", title="One Beyond the Page Shirt", variants=251),
    EdgeCase(name="variants-250", title="Full Page Shirt", variants=250),
    EdgeCase(name="no-images", title="Unphotographed Scarf", change=_without_images),
    EdgeCase(name="hidden", title="Next Year's Parka", status="DRAFT"),
    EdgeCase(name="disabled", title="Last Year's Parka", status="ARCHIVED"),
    EdgeCase(name="stock-of-product", title="Shared Shelf Socks", variants=4, change=_counted_by_product),
    EdgeCase(name="untracked", title="Gift Wrapping", variants=1, change=_UNTRACKED),
    EdgeCase(name="one-price", title="Same Price Mug", variants=3, change=_variants(price="24.95", compare_at="")),
    EdgeCase(name="sale", title="Reduced Rug", variants=2, change=_REDUCED_PRICE),
    EdgeCase(name="trailing-zeros", title="Round Price Bowl", variants=1, change=_ROUND_PRICE),
    EdgeCase(
        name="four-places", title="Single Screw", variants=1, change=_variants(price="0.1250", compare_at="")
    ),
    EdgeCase(
        name="expensive", title="Very Old Violin", variants=1, change=_variants(price="1234567.89", compare_at="")
    ),
    EdgeCase(
        name="free", title="Catalogue & Samples <2026>", variants=1, change=_variants(price="0.00", compare_at="")
    ),
    EdgeCase(name="leading-zero-sku", title="Zero Zero Tin", variants=1, change=_LEADING_ZERO_CODES),
    EdgeCase(
        name="without-sku", title="Sticker ✂️ “Free” ﷽ 你好", variants=1, change=_variants(sku="", barcode="")
    ),
    EdgeCase(
        name="fractional-weight", title="Half a Kilo of Coffee", variants=1, change=_variants(weight="0.500")
    ),
    EdgeCase(name="closed", title="Not Sold Online", variants=2, change=_variants(status="private")),
    EdgeCase(name="on-backorder", title="Sold Out Lantern", variants=2, change=_variants(stock=0, oversell=True)),
)


# -- WooCommerce


def _grouped(product: Product) -> Product:
    # The neighbours are ordinary products: edge cases are at every second position.
    neighbours = (product.id - VARIANTS_PER_PRODUCT, product.id + VARIANTS_PER_PRODUCT)
    return replace(product, price="", compare_at="", stock=None, linked=neighbours)


def _shared_stock(product: Product) -> Product:
    first, *others = product.variants
    return replace(product, stock=17, variants=(replace(first, shares_stock=True, stock=None), *others))


def _inherits_sku(product: Product) -> Product:
    first, *others = product.variants
    return replace(product, sku=f"WOO-{product.id}", variants=(replace(first, sku=""), *others))


def _disabled_variation(product: Product) -> Product:
    first, *others = product.variants
    return replace(product, variants=(replace(first, status="private", price="", compare_at=""), *others))


_DUPLICATE_SKU = _product(sku="DUP-1")


def _simple(name: str, title: str, *, status: str | None = None, change: Change = unchanged) -> EdgeCase:
    return EdgeCase(name=name, title=title, kind=Kind.SIMPLE, status=status, change=change)


def _variable(
    name: str, title: str, variants: int, *, status: str | None = None, change: Change = unchanged
) -> EdgeCase:
    return EdgeCase(name=name, title=title, kind=Kind.VARIABLE, variants=variants, status=status, change=change)


_WOOCOMMERCE = (
    _variable("variations-130", "Paint in 130 Tones", 130),
    _variable("variations-0", "Variable Without Variations", 0),
    EdgeCase(name="grouped", title="Set of Two", kind=Kind.GROUPED, change=_grouped),
    EdgeCase(
        name="external",
        title="Sold Elsewhere",
        kind=Kind.EXTERNAL,
        change=_product(price="199", compare_at="", stock=None),
    ),
    _simple("no-price", "Price on Request", change=_product(price="", compare_at="", stock=1)),
    _simple("unmanaged-stock", "Always There", change=_product(stock=None)),
    _variable("parent-stock", "One Shelf for All", 2, change=_shared_stock),
    _simple("entities", "Salt &amp; Pepper &quot;Gourmet&quot; &#8211; 200&nbsp;g"),
    _simple("leading-zero-sku", "Zero Zero Tin", change=_product(sku="000123")),
    _simple("draft", "Not Yet", status="draft"),
    _simple("private", "Staff Only", status="private"),
    _simple("trashed", "In the Bin", status="trash"),
    _variable("trashed-variable", "In the Bin Too", 2, status="trash"),
    _simple("duplicate-sku-1", "Twin One", change=_DUPLICATE_SKU),
    _simple("duplicate-sku-2", "Twin Two", change=_DUPLICATE_SKU),
    _variable("inherited-sku", "Heirloom", 3, change=_inherits_sku),
    _simple("negative-stock", "Oversold Umbrella", change=_product(stock=-3, oversell=True)),
    _simple("many-decimals", "Screw by the Gram", change=_product(price="0.123456789", compare_at="")),
    _simple("sale", "Reduced Rug", change=_product(price="7.5", compare_at="9")),
    _simple("zero-price", "Free Sample", change=_product(price="0", compare_at="")),
    _variable("disabled-variation", "Half Closed", 3, change=_disabled_variation),
    _simple("no-images", "Unphotographed Scarf ✂️ 你好", change=_product(images=())),
)


EDGE_CASES = {
    Platform.SHOPIFY: _SHOPIFY,
    Platform.WOOCOMMERCE: _WOOCOMMERCE,
    Platform.BIGCOMMERCE: _BIGCOMMERCE,
    Platform.FEED: _SHOPIFY,
}
