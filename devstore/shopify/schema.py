"""The genuine Admin API schema of 2026-10, and the resolvers of its fields."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from graphql import GraphQLObjectType, GraphQLSchema, build_schema

from devstore.shopify.resolve_product import INVENTORY_ITEM, MEDIA, OPTION, PRODUCT, VARIANT
from devstore.shopify.resolve_root import BULK_MUTATION, BULK_ROOT, ROOT
from devstore.shopify.resolve_webhooks import WEBHOOK_MUTATION, WEBHOOK_ROOT

SCHEMA_FILE = files("devstore.shopify") / "admin_2026-10.graphql.gz"
"""The only copy of the schema in this repository, gzipped SDL; tests of the connector read it as well."""

Resolver = Callable[..., Any]

_CONNECTION: Mapping[str, Resolver] = {
    "nodes": lambda connection, info: connection.nodes(),
    "edges": lambda connection, info: connection.edges(),
    "pageInfo": lambda connection, info: connection.page_info(),
}

RESOLVERS: Mapping[str, Mapping[str, Resolver]] = {
    "QueryRoot": {**ROOT, **BULK_ROOT, **WEBHOOK_ROOT},
    "Mutation": {**BULK_MUTATION, **WEBHOOK_MUTATION},
    "Product": PRODUCT,
    "ProductVariant": VARIANT,
    "InventoryItem": INVENTORY_ITEM,
    "ProductOption": OPTION,
    "MediaImage": MEDIA,
    "ProductConnection": _CONNECTION,
    "ProductVariantConnection": _CONNECTION,
    "MediaConnection": _CONNECTION,
    "EventConnection": _CONNECTION,
    "BulkOperationConnection": _CONNECTION,
    "WebhookSubscriptionConnection": _CONNECTION,
}
"""Resolvers by type and field; other fields are resolved by `context.resolve_default`."""


def schema_text() -> str:
    """Return the schema as Shopify publishes it, in SDL."""
    return gzip.decompress(SCHEMA_FILE.read_bytes()).decode()


@functools.cache
def admin_schema() -> GraphQLSchema:
    """Return the executable schema. It is cached, since building it takes about a second."""
    schema = build_schema(schema_text(), assume_valid=True)
    for type_name, resolvers in RESOLVERS.items():
        kind = schema.type_map[type_name]
        assert isinstance(kind, GraphQLObjectType)
        for field_name, resolve in resolvers.items():
            kind.fields[field_name].resolve = resolve
    return schema
