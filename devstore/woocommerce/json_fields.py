"""The pieces that products and variations share in their JSON.

Dates of a WordPress site: texts without zone, in site time and in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from devstore.catalog.model import Image, Offer, Product, Variant
from devstore.catalog.sellable_item import amount

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


# One zone without summer time, east of UTC, so that a value moved to site time is an hour off.
SITE_ZONE_NAME = "Africa/Lagos"
SITE_OFFSET_HOURS = 1
SITE_ZONE = timezone(timedelta(hours=SITE_OFFSET_HOURS))

_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?(?P<zone>[Zz]|[+-]\d\d(:\d\d)?)?")


def utc(moment: datetime) -> str:
    """The `_gmt` form."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def local(moment: datetime) -> str:
    """The site's own form."""
    return moment.astimezone(SITE_ZONE).strftime("%Y-%m-%dT%H:%M:%S")


def bound(text: str, *, dates_are_gmt: bool) -> int | None:
    """The second that modified_after and its like are compared with; None when the text is no date and time.

    The platform moves a value with a zone to site time and takes one without as it is, and only then chooses
    the column. So "...Z" together with dates_are_gmt is off by the site's offset.
    """
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    try:
        when = datetime.fromisoformat(text.upper().replace(" ", "T"))
    except ValueError:
        return None
    naive = when.astimezone(SITE_ZONE).replace(tzinfo=None) if match["zone"] else when
    column = UTC if dates_are_gmt else SITE_ZONE
    return int(naive.replace(tzinfo=column).timestamp())
