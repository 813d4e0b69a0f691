"""The genuine Admin API schema of 2026-10.

Which Python answers which field of the schema."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from graphql import GraphQLError, GraphQLObjectType, GraphQLSchema, build_schema

from devstore.catalog.model import Image, Product, Variant
from devstore.shopify.context import Info
from devstore.shopify.resolve_product import INVENTORY_ITEM, MEDIA, OPTION, PRODUCT, VARIANT
from devstore.shopify.resolve_root import BULK_MUTATION, BULK_ROOT, ROOT

SCHEMA_FILE = files("devstore.shopify") / "admin_2026-10.graphql.gz"
"""The one copy of the schema in this repository, gzipped SDL; tests of the connector read it as well."""


def schema_text() -> str:
    """The schema as Shopify publishes it, in SDL."""
    return gzip.decompress(SCHEMA_FILE.read_bytes()).decode()


@functools.cache
def admin_schema() -> GraphQLSchema:
    """The executable schema. Reading it takes about a second, so a process does it once."""
    schema = build_schema(schema_text(), assume_valid=True)
    for type_name, resolvers in RESOLVERS.items():
        kind = schema.type_map[type_name]
        assert isinstance(kind, GraphQLObjectType)
        for field_name, resolve in resolvers.items():
            kind.fields[field_name].resolve = resolve
    return schema


Resolver = Callable[..., Any]

_CONNECTION: Mapping[str, Resolver] = {
    "nodes": lambda connection, info: connection.nodes(),
    "edges": lambda connection, info: connection.edges(),
    "pageInfo": lambda connection, info: connection.page_info(),
}

RESOLVERS: Mapping[str, Mapping[str, Resolver]] = {
    "QueryRoot": {**ROOT, **BULK_ROOT},
    "Mutation": BULK_MUTATION,
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
}


def resolve_prepared(source: Any, info: Info, **_: Any) -> Any:
    """The field of a dict prepared by a resolver above. What the devstore does not model is an error, not null."""
    if type(source) is dict and info.field_name in source:
        return source[info.field_name]
    raise GraphQLError(f"devstore does not serve {info.parent_type.name}.{info.field_name}")


def type_of(value: Any, *_: Any) -> str:
    """The concrete type of what stands for an interface."""
    if isinstance(value, Product):
        return "Product"
    if isinstance(value, Image):
        return "MediaImage"
    if isinstance(value, tuple) and isinstance(value[1], Variant):
        return "ProductVariant"
    return str(value["__typename"])
