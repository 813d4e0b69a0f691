"""BigCommerce connector: reads stores through the V3 catalog API."""

from __future__ import annotations

from connector_svc.platforms.base import PlatformDefinition
from connector_svc.platforms.bigcommerce.platform import BigCommercePlatform
from connector_svc.platforms.bigcommerce.webhooks import BigCommerceWebhookFormat

__all__ = ["BIGCOMMERCE", "BigCommercePlatform"]

BIGCOMMERCE = PlatformDefinition(
    name=BigCommercePlatform.name,
    create=lambda deps: BigCommercePlatform(deps.http, deps.credentials, deps.clock),
    webhooks=BigCommerceWebhookFormat(),
)
