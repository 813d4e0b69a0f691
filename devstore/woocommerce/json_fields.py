"""JSON fields that products and variations share, and the dates of a WordPress site."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from devstore.catalog.model import Image, Offer, Product, Variant
from devstore.catalog.sellable_item import amount

Json = dict[str, Any]


def date_fields(item: Product | Variant) -> Json:
    return {
        "date_created": local(item.created),
        "date_created_gmt": utc(item.created),
        "date_modified": local(item.updated),
        "date_modified_gmt": utc(item.updated),
    }


def price_fields(offer: Offer) -> Json:
    """Return the prices as stored; a reduced offer shows its price as sale_price."""
    reduced = bool(offer.price and offer.compare_at)
    return {
        "price": offer.price,
        "regular_price": offer.compare_at if reduced else offer.price,
        "sale_price": offer.price if reduced else "",
        **dict.fromkeys(("date_on_sale_from", "date_on_sale_from_gmt", "date_on_sale_to")),
        "date_on_sale_to_gmt": None,
        "on_sale": reduced,
    }


def backorder_fields(offer: Offer) -> Json:
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


def download_fields() -> Json:
    """Return the fields of virtual and downloadable products; generated products are neither."""
    return {
        "virtual": False,
        "downloadable": False,
        "downloads": [],
        "download_limit": -1,
        "download_expiry": -1,
    }


def weight_and_dimensions(offer: Offer) -> Json:
    return {"weight": offer.weight, "dimensions": {"length": "", "width": "", "height": ""}}


def image_json(image: Image, product: Product, site: str) -> Json:
    return {
        "id": image.id,
        "date_created": local(product.created),
        "date_created_gmt": utc(product.created),
        "date_modified": local(image.changed),
        "date_modified_gmt": utc(image.changed),
        "src": f"{site}/images/{image.id}.png",
        "name": f"picture-{image.id}",
        "alt": image.alt,
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


def links(*hrefs: tuple[str, str]) -> Json:
    return {relation: [{"href": href}] for relation, href in hrefs}


# A zone without daylight saving time, east of UTC, so that a value converted to site time is off by an hour.
SITE_ZONE_NAME = "Africa/Lagos"
SITE_OFFSET_HOURS = 1
SITE_ZONE = timezone(timedelta(hours=SITE_OFFSET_HOURS))

_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?(?P<zone>[Zz]|[+-]\d\d(:\d\d)?)?")


def utc(moment: datetime) -> str:
    """Format a time as the `_gmt` fields: in UTC, without zone."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def local(moment: datetime) -> str:
    """Format a time in the site's zone, without zone."""
    return moment.astimezone(SITE_ZONE).strftime("%Y-%m-%dT%H:%M:%S")


def parse_date_bound(text: str, *, dates_are_gmt: bool) -> int | None:
    """Parse modified_after and similar parameters as the platform does.

    The platform converts a value with a zone to site time and takes a value without zone as it is, before it
    chooses the column to compare with. So "...Z" together with dates_are_gmt is off by the site's offset.

    Returns:
        Seconds since the epoch; None when the text is not a date with a time.
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
