"""Shopify's DateTime texts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

# One zone without summer time, west of UTC, so that a value read in the shop's zone is off by five hours.
SHOP_ZONE_NAME = "America/Panama"
SHOP_ZONE = timezone(timedelta(hours=-5))


def to_text(moment: datetime | int) -> str:
    """2026-11-20T10:00:00Z, from a time or from seconds since the epoch."""
    when = moment if isinstance(moment, datetime) else datetime.fromtimestamp(moment, UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def to_seconds(text: str) -> float | None:
    """Seconds since the epoch; a text without zone is the shop's own time. None when it is no time."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=SHOP_ZONE)).timestamp()
