"""References to shops: `platform:domain`, or the id of a registered shop."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from catalogsync.catalog.v1.catalog_service_pb2 import ShopRef

ShopLike: TypeAlias = ShopRef | str
"""A reference, or its text: "shopify:demo.myshopify.com", or a shop_id."""

_SHOP_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def shop_ref(shop: ShopLike) -> ShopRef:
    """Return the reference to a shop. Whether the platform exists is for the service to decide.

    Raises:
        ValueError: the text has another form; the message says what is expected.
    """
    if isinstance(shop, ShopRef):
        return shop
    text = shop.strip().lower()
    if _SHOP_ID.fullmatch(text):
        return ShopRef(shop_id=text)
    platform, separator, domain = text.partition(":")
    domain = domain.removesuffix(".")
    if not (separator and platform and domain) or ":" in domain or "/" in domain:
        raise ValueError(
            f"{shop!r} is not a shop: write platform:domain, "
            "e.g. shopify:demo.myshopify.com or woocommerce:store.example"
        )
    return ShopRef(platform=platform, domain=domain)


def shop_ref_text(ref: ShopRef) -> str:
    """Return a reference as text: the id, or `platform:domain`."""
    return ref.shop_id or f"{ref.platform}:{ref.domain}"
