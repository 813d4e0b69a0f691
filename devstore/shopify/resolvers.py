"""Which Python answers which field of the schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphql import GraphQLError

from devstore.catalog.model import Image, Product, Variant
from devstore.shopify.bulk_resolve import BULK_MUTATION, BULK_ROOT
from devstore.shopify.call import Info
from devstore.shopify.resolve_product import MEDIA, OPTION, PRODUCT
from devstore.shopify.resolve_root import ROOT
from devstore.shopify.resolve_variant import INVENTORY_ITEM, VARIANT

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
