"""Ids: the number at the end of a gid, as a string; it is what Shopify's admin, REST API and exports show."""

from __future__ import annotations

_DIGITS = 19
"""No signed number of 64 bits has more."""


def number_of(gid: str, kind: str) -> str:
    """ "123" of "gid://shopify/Product/123"; empty when `gid` is no such id."""
    head, _, number = gid.rpartition("/")
    if head == f"gid://shopify/{kind}" and len(number) <= _DIGITS and number.isascii() and number.isdigit():
        return number
    return ""


def product_gid(number: str) -> str:
    """The gid of a product's number."""
    return f"gid://shopify/Product/{number}"
