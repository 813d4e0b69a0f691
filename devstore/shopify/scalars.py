"""Formats of the API: global ids, DateTime values and version handles."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from devstore.catalog.model import Image


def gid(kind: str, number: int | str) -> str:
    """Return the global id of a numbered object."""
    return f"gid://shopify/{kind}/{number}"


def parse_gid(text: str) -> tuple[str, int] | None:
    """Return kind and number of a global id; None when the text is not the global id of a numbered object."""
    head, _, number = text.removeprefix("gid://shopify/").partition("/")
    if not text.startswith("gid://shopify/") or not number.isdecimal():
        return None
    return head, int(number)


def image_url(site: str, image: Image) -> str:
    """Return the URL of a picture, which differs after the picture was replaced."""
    return f"{site}/images/{image.id}.png?v={image.changed_seconds}"


# A zone without daylight saving time, west of UTC, so that a value parsed in the shop's zone is off by five hours.
SHOP_ZONE_NAME = "America/Panama"
SHOP_ZONE = timezone(timedelta(hours=-5))


def format_datetime(moment: datetime | int) -> str:
    """Format a time, or seconds since the epoch, as 2026-11-20T10:00:00Z."""
    when = moment if isinstance(moment, datetime) else datetime.fromtimestamp(moment, UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_epoch_seconds(text: str) -> float | None:
    """Parse a time as seconds since the epoch; without zone it is in the shop's zone. None when it is invalid."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=SHOP_ZONE)).timestamp()


SUPPORTED_VERSIONS = ("2026-01", "2026-04", "2026-07", "2026-10")
_STABLE = re.compile(r"\d{4}-(01|04|07|10)")


def resolve_version(requested: str) -> str | None:
    """Return the version that answers a request: a retired one falls forward to the oldest supported one.

    Returns:
        The version; None when the requested one does not exist.
    """
    if requested in SUPPORTED_VERSIONS or requested == "unstable":
        return requested
    if _STABLE.fullmatch(requested) and requested < SUPPORTED_VERSIONS[0]:
        return SUPPORTED_VERSIONS[0]
    return None
