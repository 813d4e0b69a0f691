"""The first question to a shop: may we read it, and what is it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from connector_svc.domain.errors import SourceForbidden, SourceRedirected
from connector_svc.domain.shop import ShopInfo
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.error_mapping import (
    MaxCostExceeded,
    ShopifyInternalError,
    forbidden,
    internal_error,
)
from connector_svc.platforms.shopify.queries import INVENTORY_PROBE, PASS_START
from connector_svc.platforms.shopify.wire import PassStartData, numeric_id

_DECODER = msgspec.json.Decoder(PassStartData)
_NO_INVENTORY = (
    "Shopify refuses inventory items without the access scope read_inventory: weights stay unknown, and stock is "
    "the number that Shopify shows also where it is not tracked"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PassStart:
    """What the shop told."""

    shop_info: ShopInfo
    platform_time: datetime | None
    inventory: bool
    """Whether we may read inventory items."""
    restore_rate: float | None = None
    """Query points a second; None: the platform did not tell."""


async def read_pass_start(client: ShopifyClient, *, search: str | None = None) -> PassStart:
    """Reads the shop; product_count is of the products that `search` finds.

    Raises SourceForbidden without read_products, SourceRedirected when the domain leads to another shop.
    """
    try:
        answer = await client.call(PASS_START, {"query": search})
    except (ShopifyInternalError, MaxCostExceeded) as error:
        raise internal_error(client.shop) from error
    data = client.decoded(answer, _DECODER)
    actual = data.shop.myshopify_domain.lower()
    if actual != client.shop.domain:
        raise SourceRedirected(client.shop, f"Shopify calls this shop {actual}", actual_domain=actual)
    scopes = tuple(sorted(scope.handle for scope in data.current_app_installation.access_scopes))
    if not _may_read(scopes, "products"):
        raise forbidden(client.shop, "read_products")
    inventory = _may_read(scopes, "inventory") or await _shows_inventory(client)
    facts = ShopInfo(
        currency_code=data.shop.currency_code,
        platform_shop_id=numeric_id(data.shop.id, "Shop"),
        shop_name=data.shop.name,
        served_api_version=client.served_version,
        product_count=data.products_count.count if data.products_count else None,
        item_count=data.product_variants_count.count if data.product_variants_count else None,
        granted_scopes=scopes,
        notes=client.warnings + (() if inventory else (_NO_INVENTORY,)),
    )
    status = answer.cost.throttle_status
    return PassStart(
        shop_info=facts,
        platform_time=answer.platform_time,
        inventory=inventory,
        restore_rate=status.restore_rate if status else None,
    )


async def _shows_inventory(client: ShopifyClient) -> bool:
    """Whether read_products is enough for inventory items, as in most shops since January 2025."""
    try:
        await client.call(INVENTORY_PROBE, {})
    except SourceForbidden:
        return False
    except (ShopifyInternalError, MaxCostExceeded) as error:
        raise internal_error(client.shop) from error
    return True


def _may_read(scopes: tuple[str, ...], what: str) -> bool:
    """Writing includes reading; Shopify then lists the write scope alone."""
    return f"read_{what}" in scopes or f"write_{what}" in scopes
