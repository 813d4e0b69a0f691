"""Names of shops: `platform:domain`, or the id of a registered shop."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from catalogsync.catalog.v1 import catalog_service_pb2 as catalog
from catalogsync.connector.v1 import connector_service_pb2 as connector

_SHOP_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class ShopName:
    """A shop as `platform:domain`, in lower case."""

    platform: str
    domain: str

    def __str__(self) -> str:
        return f"{self.platform}:{self.domain}"

    @classmethod
    def of(cls, shop: catalog.Shop) -> ShopName:
        """Return the name of a shop from a response of the catalog."""
        return cls(shop.platform, shop.domain)

    @classmethod
    def parse(cls, text: str) -> ShopName:
        """Parse `platform:domain`. Whether the platform exists is for the service to decide.

        Raises:
            ValueError: the text has another form; the message says what is expected.
        """
        platform, separator, domain = text.strip().lower().partition(":")
        domain = domain.removesuffix(".")
        if not (separator and platform and domain) or ":" in domain or "/" in domain:
            raise ValueError(
                f"{text!r} is not a shop: write platform:domain, "
                "e.g. shopify:demo.myshopify.com or woocommerce:store.example"
            )
        return cls(platform, domain)

    def for_catalog(self) -> catalog.ShopRef:
        """Return the shop as CatalogService takes it."""
        return catalog.ShopRef(platform=self.platform, domain=self.domain)

    def for_connector(self) -> connector.ShopRef:
        """Return the shop as ConnectorService takes it."""
        return connector.ShopRef(platform=self.platform, domain=self.domain)


ShopLike: TypeAlias = catalog.ShopRef | ShopName | str
"""A reference, a name, or text: "shopify:demo.myshopify.com", or a shop_id."""


def shop_ref(shop: ShopLike) -> catalog.ShopRef:
    """Return the reference to a shop, as CatalogService takes it.

    Raises:
        ValueError: the text has another form; the message says what is expected.
    """
    if isinstance(shop, catalog.ShopRef):
        return shop
    if isinstance(shop, ShopName):
        return shop.for_catalog()
    text = shop.strip().lower()
    return catalog.ShopRef(shop_id=text) if _SHOP_ID.fullmatch(text) else ShopName.parse(shop).for_catalog()


def shop_ref_text(ref: catalog.ShopRef) -> str:
    """Return a reference as text: the id, or `platform:domain`."""
    return ref.shop_id or f"{ref.platform}:{ref.domain}"
