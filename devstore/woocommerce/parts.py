"""The pieces that products and variations share in their JSON."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from devstore.catalog.item import amount
from devstore.catalog.model import Image, Offer, Product, Variant
from devstore.woocommerce.dates import local, utc

Json = dict[str, Any]


def dates(sold: Product | Variant) -> Json:
    return {
        "date_created": local(sold.created),
        "date_created_gmt": utc(sold.created),
        "date_modified": local(sold.updated),
        "date_modified_gmt": utc(sold.updated),
    }


def prices(offer: Offer) -> Json:
    """Texts as stored; a reduced offer shows its price as sale_price."""
    reduced = bool(offer.price and offer.compare_at)
    return {
        "price": offer.price,
        "regular_price": offer.compare_at if reduced else offer.price,
        "sale_price": offer.price if reduced else "",
        **dict.fromkeys(("date_on_sale_from", "date_on_sale_from_gmt", "date_on_sale_to")),
        "date_on_sale_to_gmt": None,
        "on_sale": reduced,
    }


def backorders(offer: Offer) -> Json:
    return {
        "backorders": "notify" if offer.oversell else "no",
        "backorders_allowed": offer.oversell,
        "backordered": offer.oversell and offer.stock is not None and offer.stock < 0,
        "low_stock_amount": None,
    }


def stock_status(stock: int | None, *, oversell: bool) -> str:
    if stock is None or stock > 0:
        return "instock"
    return "onbackorder" if oversell else "outofstock"


def files() -> Json:
    """Nothing generated is virtual or to be downloaded."""
    return {
        "virtual": False,
        "downloadable": False,
        "downloads": [],
        "download_limit": -1,
        "download_expiry": -1,
    }


def measures(offer: Offer) -> Json:
    return {"weight": offer.weight, "dimensions": {"length": "", "width": "", "height": ""}}


def image(picture: Image, product: Product, site: str) -> Json:
    return {
        "id": picture.id,
        "date_created": local(product.created),
        "date_created_gmt": utc(product.created),
        "date_modified": local(product.created),
        "date_modified_gmt": utc(product.created),
        "src": f"{site}/images/{picture.id}.png",
        "name": f"picture-{picture.id}",
        "alt": picture.alt,
    }


def permalink(product: Product, site: str) -> str:
    return f"{site}/product/{product.handle}/"


def price_html(text: str) -> str:
    value = amount(text)
    if value is None:
        return ""
    shown = str(value.quantize(Decimal("0.01"), ROUND_HALF_UP)).replace(".", ",")
    symbol = '<span class="woocommerce-Price-currencySymbol">&euro;</span>'
    return f'<span class="woocommerce-Price-amount amount"><bdi>{shown}&nbsp;{symbol}</bdi></span>'


def link(*hrefs: tuple[str, str]) -> Json:
    return {relation: [{"href": href}] for relation, href in hrefs}
