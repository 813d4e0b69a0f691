"""Shopify's global ids."""

from __future__ import annotations


def gid(kind: str, number: int | str) -> str:
    return f"gid://shopify/{kind}/{number}"


def parse_gid(text: str) -> tuple[str, int] | None:
    """Kind and number, or None when the text is no global id of a numbered thing."""
    head, _, number = text.removeprefix("gid://shopify/").partition("/")
    if not text.startswith("gid://shopify/") or not number.isdecimal():
        return None
    return head, int(number)
