"""Shopify's global ids.

Shopify's DateTime texts.

Which API version answers a request for which."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone


def gid(kind: str, number: int | str) -> str:
    return f"gid://shopify/{kind}/{number}"


def parse_gid(text: str) -> tuple[str, int] | None:
    """Kind and number, or None when the text is no global id of a numbered thing."""
    head, _, number = text.removeprefix("gid://shopify/").partition("/")
    if not text.startswith("gid://shopify/") or not number.isdecimal():
        return None
    return head, int(number)


# One zone without summer time, west of UTC, so that a value read in the shop's zone is off by five hours.
SHOP_ZONE_NAME = "America/Panama"
SHOP_ZONE = timezone(timedelta(hours=-5))


def format_datetime(moment: datetime | int) -> str:
    """2026-11-20T10:00:00Z, from a time or from seconds since the epoch."""
    when = moment if isinstance(moment, datetime) else datetime.fromtimestamp(moment, UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_epoch_seconds(text: str) -> float | None:
    """Seconds since the epoch; a text without zone is the shop's own time. None when it is no time."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=SHOP_ZONE)).timestamp()


SUPPORTED_VERSIONS = ("2026-01", "2026-04", "2026-07", "2026-10")
_STABLE = re.compile(r"\d{4}-(01|04|07|10)")


def resolve_version(asked: str) -> str | None:
    """The version that really answers: an older one falls forward, a future one does not exist (None)."""
    if asked in SUPPORTED_VERSIONS or asked == "unstable":
        return asked
    if _STABLE.fullmatch(asked) and asked < SUPPORTED_VERSIONS[0]:
        return SUPPORTED_VERSIONS[0]
    return None
