"""Search strings. Times are quoted: Shopify cuts an unquoted one at its first colon and reads it in the shop's
zone."""

from __future__ import annotations

from datetime import UTC, datetime


def changed_between(after: datetime, until: datetime | None = None) -> str:
    """Products changed at or after `after` and, if given, not after `until`."""
    lower = f"updated_at:>='{_time(after)}'"
    return lower if until is None else f"{lower} AND updated_at:<='{_time(until)}'"


def created_until(until: datetime) -> str:
    """Products that were there at `until`."""
    return f"created_at:<='{_time(until)}'"


def destroyed_between(after: datetime, until: datetime) -> str:
    """Events of products that were deleted at or after `after` and not after `until`."""
    window = f"created_at:>='{_time(after)}' AND created_at:<='{_time(until)}'"
    return f"subject_type:PRODUCT AND action:destroy AND {window}"


def behind(number: int, search: str | None) -> str | None:
    """What `search` finds, behind the id `number`; None: everything."""
    if number <= 0:
        return search
    return f"id:>{number}" + (f" AND {search}" if search else "")


def between(product_id: int, last_id: int) -> str:
    """Products behind `product_id` up to `last_id`."""
    upper = f"id:<={last_id}"
    return f"id:>{product_id} AND {upper}" if product_id > 0 else upper


def _time(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
