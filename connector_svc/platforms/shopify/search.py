"""Search strings. Times are quoted: Shopify cuts an unquoted one at its first colon and reads it in the shop's
zone."""

from __future__ import annotations

from datetime import UTC, datetime


def changed_between(after: datetime, until: datetime | None = None) -> str:
    """Products changed at or after `after` and, if given, not after `until`."""
    lower = f"updated_at:>='{_time(after)}'"
    return lower if until is None else f"{lower} AND updated_at:<='{_time(until)}'"


def behind(product_id: int, search: str | None) -> str | None:
    """What `search` finds, behind `product_id`; None: everything."""
    if product_id <= 0:
        return search
    return f"id:>{product_id}" + (f" AND {search}" if search else "")


def _time(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
