"""Reads Shopify shops through the Admin GraphQL API."""

from __future__ import annotations

from connector_svc.platforms.shopify.platform import ShopifyPlatform

__all__ = ["ShopifyPlatform"]
