"""BigCommerce connector: reads stores through the V3 catalog API."""

from __future__ import annotations

from connector_svc.platforms.bigcommerce.platform import BigCommercePlatform

__all__ = ["BigCommercePlatform"]
