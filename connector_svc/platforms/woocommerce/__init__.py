"""Read WooCommerce stores through their REST API wc/v3."""

from connector_svc.platforms.base import PlatformDefinition
from connector_svc.platforms.woocommerce.platform import WooCommercePlatform
from connector_svc.platforms.woocommerce.webhooks import WooCommerceWebhookFormat

__all__ = ["WOOCOMMERCE", "WooCommercePlatform"]

WOOCOMMERCE = PlatformDefinition(
    name=WooCommercePlatform.name,
    create=lambda deps: WooCommercePlatform(
        deps.http,
        deps.credentials,
        deps.clock,
        connections_per_host=deps.connections_per_host,
    ),
    webhooks=WooCommerceWebhookFormat(),
)
