"""The first query of a pass: whether we may read the shop, and what it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from connector_svc.domain.errors import SourceForbidden, SourceRedirected
from connector_svc.domain.shop import ShopInfo
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.error_mapping import missing_scope
from connector_svc.platforms.shopify.queries import INVENTORY_PROBE, PASS_START
from connector_svc.platforms.shopify.wire import PassStartData, numeric_id

_DECODER = msgspec.json.Decoder(PassStartData)
_NO_INVENTORY_NOTE = (
    "Shopify refuses inventory items without the access scope read_inventory: weights stay unknown, and stock is "
    "the number that Shopify shows also where it is not tracked"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PassStart:
    """What the shop reported when the pass began."""

    shop_info: ShopInfo
    platform_time: datetime | None
    can_read_inventory: bool
    """Whether we may read inventory items."""
    restore_rate: float | None = None
    """Query points per second; None: not reported."""


async def read_pass_start(client: ShopifyClient, *, search: str | None = None) -> PassStart:
    """Read the shop; `product_count` counts the products that `search` finds.

    Raises:
        SourceForbidden: The access scope read_products is missing.
        SourceRedirected: The domain leads to another shop.
        SourceFailure: The shop cannot be read.
    """
    response = await client.call_or_fail(PASS_START, {"query": search})
    data = client.decode(response, _DECODER)
    actual = data.shop.myshopify_domain.lower()
    if actual != client.shop.domain:
        raise SourceRedirected(client.shop, f"Shopify calls this shop {actual}", actual_domain=actual)
    scopes = tuple(sorted(scope.handle for scope in data.current_app_installation.access_scopes))
    if not _may_read(scopes, "products"):
        raise missing_scope(client.shop, "read_products")
    can_read_inventory = _may_read(scopes, "inventory") or await _probe_inventory(client)
    shop_info = ShopInfo(
        currency_code=data.shop.currency_code,
        platform_shop_id=numeric_id(data.shop.id, "Shop"),
        display_name=data.shop.name,
        served_api_version=client.served_version,
        product_count=data.products_count.count if data.products_count else None,
        variant_count=data.product_variants_count.count if data.product_variants_count else None,
        granted_scopes=scopes,
        notes=client.warnings + (() if can_read_inventory else (_NO_INVENTORY_NOTE,)),
    )
    status = response.cost.throttle_status
    return PassStart(
        shop_info=shop_info,
        platform_time=response.platform_time,
        can_read_inventory=can_read_inventory,
        restore_rate=status.restore_rate if status else None,
    )


async def _probe_inventory(client: ShopifyClient) -> bool:
    """Return whether read_products suffices for inventory items, as in most shops since January 2025."""
    try:
        await client.call_or_fail(INVENTORY_PROBE, {})
    except SourceForbidden:
        return False
    return True


def _may_read(scopes: tuple[str, ...], resource: str) -> bool:
    """Return whether the scopes allow reading; a write scope includes it and is then listed alone."""
    return f"read_{resource}" in scopes or f"write_{resource}" in scopes
