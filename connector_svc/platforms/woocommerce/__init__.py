"""Read WooCommerce stores through their REST API wc/v3."""

from connector_svc.platforms.woocommerce.platform import WooCommercePlatform

__all__ = ["WooCommercePlatform"]
