"""The genuine Admin API schema of 2026-10."""

from __future__ import annotations

import functools
import gzip
from importlib.resources import files

from graphql import GraphQLObjectType, GraphQLSchema, build_schema

from devstore.shopify.resolvers import RESOLVERS

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
