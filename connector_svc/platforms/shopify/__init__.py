"""Reads Shopify shops through the Admin GraphQL API."""

from __future__ import annotations

from connector_svc.platforms.base import Platform, PlatformDefinition, PlatformDependencies, PlatformOption
from connector_svc.platforms.shopify.access_token import ShopifyTokenExchange
from connector_svc.platforms.shopify.platform import ShopifyPlatform
from connector_svc.platforms.shopify.read_strategy import ReadStrategy
from connector_svc.platforms.shopify.webhooks import ShopifyWebhookFormat

__all__ = ["SHOPIFY", "ShopifyPlatform"]

_STRATEGY = PlatformOption(name="strategy", default=ReadStrategy.AUTO)


def _create(dependencies: PlatformDependencies) -> Platform:
    strategy = ReadStrategy(dependencies.options.get(_STRATEGY.name, _STRATEGY.default))
    return ShopifyPlatform(
        dependencies.http,
        dependencies.credentials,
        dependencies.clock,
        strategy=strategy,
        query_points=dependencies.query_points,
    )


SHOPIFY = PlatformDefinition(
    name=ShopifyPlatform.name,
    create=_create,
    options=(_STRATEGY,),
    token_exchange=ShopifyTokenExchange(),
    webhooks=ShopifyWebhookFormat(),
)
