"""The difficult products of a Shopify shop."""

from __future__ import annotations

from dataclasses import replace

from devstore.catalog.model import Offer, Product
from devstore.catalog.special import Special


def _each(product: Product, **fields: object) -> Product:
    variants = tuple(replace(variant, **fields) for variant in product.variants)  # type: ignore[arg-type]
    return replace(product, variants=variants)


def _without_images(product: Product) -> Product:
    return replace(_each(product, image_id=None), images=())


def _negative(product: Product) -> Product:
    return _each(product, stock=-3, oversell=True)


def _untracked(product: Product) -> Product:
    return _each(product, stock=None)


def _reduced(product: Product) -> Product:
    return _each(product, price="19.90", compare_at="29.90")


def _leading_zero(product: Product) -> Product:
    return _each(product, sku="000123", barcode="0012345678905")


def _round_price(product: Product) -> Product:
    return _each(product, price="20.00", compare_at="")


def _half_a_kilogram(product: Product) -> Product:
    return _each(product, weight="0.5", weight_unit="KILOGRAMS")


def _bare(product: Product) -> Product:
    return _each(product, sku=Offer().sku, barcode="", price="0.00", compare_at="")


SPECIALS = (
    Special(name="variants-600", title="Every Thread Shirt", variants=600),
    Special(name="variants-250", title="Full Page Shirt", variants=250),
    Special(name="variants-100", title="Old Limit Shirt", variants=100),
    Special(name="no-images", title="Unphotographed Scarf", finish=_without_images),
    Special(name="unlisted", title="Secret Drop Cap", status="UNLISTED"),
    Special(name="archived", title="Last Year's Parka", status="ARCHIVED"),
    Special(name="draft", title="Next Year's Parka", status="DRAFT"),
    Special(name="negative-stock", title="Oversold Umbrella", variants=1, finish=_negative),
    Special(name="untracked", title="Gift Wrapping", variants=1, finish=_untracked),
    Special(name="compare-at", title="Reduced Rug", variants=2, finish=_reduced),
    Special(name="leading-zero-sku", title="Zero Zero Tin", variants=1, finish=_leading_zero),
    Special(name="trailing-zeros", title="Round Price Bowl", variants=1, finish=_round_price),
    Special(name="fractional-weight", title="Half a Kilo of Coffee", variants=1, finish=_half_a_kilogram),
    Special(name="bare", title="Sticker ✂️ “Free” ﷽ 你好", variants=1, finish=_bare),
)
