"""The difficult products of a WooCommerce shop."""

from __future__ import annotations

from dataclasses import replace

from devstore.catalog.ids import VARIANTS_PER_PRODUCT
from devstore.catalog.model import Kind, Product
from devstore.catalog.special import Special


def _grouped(product: Product) -> Product:
    # The neighbours are ordinary products: special ones stand at every second place.
    neighbours = (product.id - VARIANTS_PER_PRODUCT, product.id + VARIANTS_PER_PRODUCT)
    return replace(product, price="", compare_at="", stock=None, linked=neighbours)


def _external(product: Product) -> Product:
    return replace(product, price="199", compare_at="", stock=None)


def _no_price(product: Product) -> Product:
    return replace(product, price="", compare_at="", stock=1)


def _unmanaged(product: Product) -> Product:
    return replace(product, stock=None)


def _shared_stock(product: Product) -> Product:
    first, *others = product.variants
    shared = replace(first, shares_stock=True, stock=None)
    return replace(product, stock=17, variants=(shared, *others))


def _leading_zero(product: Product) -> Product:
    return replace(product, sku="000123")


def _duplicate(product: Product) -> Product:
    return replace(product, sku="DUP-1")


def _inherits_sku(product: Product) -> Product:
    first, *others = product.variants
    return replace(product, sku=f"WOO-{product.id}", variants=(replace(first, sku=""), *others))


def _negative(product: Product) -> Product:
    return replace(product, stock=-3, oversell=True)


def _many_decimals(product: Product) -> Product:
    return replace(product, price="0.123456789", compare_at="")


def _sale(product: Product) -> Product:
    return replace(product, price="7.5", compare_at="9")


def _zero_price(product: Product) -> Product:
    return replace(product, price="0", compare_at="")


def _disabled_variation(product: Product) -> Product:
    first, *others = product.variants
    return replace(product, variants=(replace(first, status="private", price="", compare_at=""), *others))


def _without_images(product: Product) -> Product:
    return replace(product, images=())


_SIMPLE, _VARIABLE = Kind.SIMPLE, Kind.VARIABLE

SPECIALS = (
    Special(name="variations-130", title="Paint in 130 Tones", kind=_VARIABLE, variants=130),
    Special(name="variations-0", title="Variable Without Variations", kind=_VARIABLE, variants=0),
    Special(name="grouped", title="Set of Two", kind=Kind.GROUPED, finish=_grouped),
    Special(name="external", title="Sold Elsewhere", kind=Kind.EXTERNAL, finish=_external),
    Special(name="no-price", title="Price on Request", kind=_SIMPLE, finish=_no_price),
    Special(name="unmanaged-stock", title="Always There", kind=_SIMPLE, finish=_unmanaged),
    Special(name="parent-stock", title="One Shelf for All", kind=_VARIABLE, variants=2, finish=_shared_stock),
    Special(name="entities", title="Salt &amp; Pepper &quot;Gourmet&quot; &#8211; 200&nbsp;g", kind=_SIMPLE),
    Special(name="leading-zero-sku", title="Zero Zero Tin", kind=_SIMPLE, finish=_leading_zero),
    Special(name="draft", title="Not Yet", kind=_SIMPLE, status="draft"),
    Special(name="private", title="Staff Only", kind=_SIMPLE, status="private"),
    Special(name="trashed", title="In the Bin", kind=_SIMPLE, status="trash"),
    Special(name="trashed-variable", title="In the Bin Too", kind=_VARIABLE, variants=2, status="trash"),
    Special(name="duplicate-sku-1", title="Twin One", kind=_SIMPLE, finish=_duplicate),
    Special(name="duplicate-sku-2", title="Twin Two", kind=_SIMPLE, finish=_duplicate),
    Special(name="inherited-sku", title="Heirloom", kind=_VARIABLE, variants=3, finish=_inherits_sku),
    Special(name="negative-stock", title="Oversold Umbrella", kind=_SIMPLE, finish=_negative),
    Special(name="many-decimals", title="Screw by the Gram", kind=_SIMPLE, finish=_many_decimals),
    Special(name="sale", title="Reduced Rug", kind=_SIMPLE, finish=_sale),
    Special(name="zero-price", title="Free Sample", kind=_SIMPLE, finish=_zero_price),
    Special(
        name="disabled-variation", title="Half Closed", kind=_VARIABLE, variants=3, finish=_disabled_variation
    ),
    Special(name="no-images", title="Unphotographed Scarf ✂️ 你好", kind=_SIMPLE, finish=_without_images),
)
