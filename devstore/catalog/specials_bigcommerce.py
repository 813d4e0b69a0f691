"""The difficult products of a BigCommerce store."""

from __future__ import annotations

from dataclasses import replace

from devstore.catalog.model import Product
from devstore.catalog.special import Special


def _each(product: Product, **fields: object) -> Product:
    variants = tuple(replace(variant, **fields) for variant in product.variants)  # type: ignore[arg-type]
    return replace(product, variants=variants)


def _without_images(product: Product) -> Product:
    return replace(_each(product, image_id=None), images=())


def _counted_by_product(product: Product) -> Product:
    return replace(_each(product, stock=None, shares_stock=True), stock=17)


def _untracked(product: Product) -> Product:
    return _each(product, stock=None)


def _one_price(product: Product) -> Product:
    return _each(product, price="24.95", compare_at="")


def _reduced(product: Product) -> Product:
    return _each(product, price="19.90", compare_at="29.90")


def _round_price(product: Product) -> Product:
    return _each(product, price="20.00", compare_at="")


def _four_places(product: Product) -> Product:
    return _each(product, price="0.1250", compare_at="")


def _dear(product: Product) -> Product:
    return _each(product, price="1234567.89", compare_at="")


def _free(product: Product) -> Product:
    return _each(product, price="0.00", compare_at="")


def _leading_zero(product: Product) -> Product:
    return _each(product, sku="000123", barcode="0012345678905")


def _without_sku(product: Product) -> Product:
    return _each(product, sku="", barcode="")


def _half_a_kilogram(product: Product) -> Product:
    return _each(product, weight="0.500")


def _on_backorder(product: Product) -> Product:
    return _each(product, stock=0, oversell=True)


def _closed(product: Product) -> Product:
    return _each(product, status="private")


SPECIALS = (
    Special(name="variants-600", title="Every Thread Shirt", variants=600),
    Special(name="variants-251", title="One Beyond the Page Shirt", variants=251),
    Special(name="variants-250", title="Full Page Shirt", variants=250),
    Special(name="no-images", title="Unphotographed Scarf", finish=_without_images),
    Special(name="hidden", title="Next Year's Parka", status="DRAFT"),
    Special(name="disabled", title="Last Year's Parka", status="ARCHIVED"),
    Special(name="stock-of-product", title="Shared Shelf Socks", variants=4, finish=_counted_by_product),
    Special(name="untracked", title="Gift Wrapping", variants=1, finish=_untracked),
    Special(name="one-price", title="Same Price Mug", variants=3, finish=_one_price),
    Special(name="sale", title="Reduced Rug", variants=2, finish=_reduced),
    Special(name="trailing-zeros", title="Round Price Bowl", variants=1, finish=_round_price),
    Special(name="four-places", title="Single Screw", variants=1, finish=_four_places),
    Special(name="dear", title="Very Old Violin", variants=1, finish=_dear),
    Special(name="free", title="Catalogue & Samples <2026>", variants=1, finish=_free),
    Special(name="leading-zero-sku", title="Zero Zero Tin", variants=1, finish=_leading_zero),
    Special(name="without-sku", title="Sticker ✂️ “Free” ﷽ 你好", variants=1, finish=_without_sku),
    Special(name="fractional-weight", title="Half a Kilo of Coffee", variants=1, finish=_half_a_kilogram),
    Special(name="closed", title="Not Sold Online", variants=2, finish=_closed),
    Special(name="on-backorder", title="Sold Out Lantern", variants=2, finish=_on_backorder),
)
