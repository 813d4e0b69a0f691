from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLSchema,
    OperationDefinitionNode,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    build_schema,
    parse,
    validate,
    visit,
)
from graphql.language import ArgumentNode, EnumValueNode, FragmentDefinitionNode

from connector_svc.platforms.shopify.bulk_jobs import RECENT_BULK_JOBS
from connector_svc.platforms.shopify.queries import (
    EXISTING_PRODUCTS,
    INVENTORY_PROBE,
    PAGE_PRODUCTS,
    PASS_START,
    PRODUCT_COUNT,
    PRODUCT_DELETIONS,
    PRODUCT_IDS,
    SINGLE_VARIANTS,
    Query,
    product_page,
    products_by_id,
    single_product,
    variant_stock,
)
from connector_svc.platforms.shopify.webhook_registrar import CREATE_WEBHOOK, WEBHOOKS
from devstore.shopify.query_cost import ChargeReader, requested_cost

SCHEMA = Path(__file__).parents[4] / "devstore/shopify/admin_2026-10.graphql.gz"
QUERIES = [
    (PASS_START, 0),
    (INVENTORY_PROBE, 0),
    (PRODUCT_COUNT, 0),
    (PRODUCT_IDS, 250),
    (product_page(inventory=True), PAGE_PRODUCTS),
    (product_page(inventory=False), PAGE_PRODUCTS),
    (PRODUCT_DELETIONS, 250),
    (EXISTING_PRODUCTS, 0),
    (RECENT_BULK_JOBS, 10),
    (WEBHOOKS, 250),
    (CREATE_WEBHOOK, 0),
    (variant_stock(inventory=True), 250),
    (variant_stock(inventory=False), 250),
    (products_by_id(inventory=True), 0),
    (products_by_id(inventory=False), 0),
    (single_product(inventory=True), SINGLE_VARIANTS),
    (single_product(inventory=False), SINGLE_VARIANTS),
]
each_query = pytest.mark.parametrize(
    ("query", "first"), QUERIES, ids=lambda value: value.name if isinstance(value, Query) else str(value)
)


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return build_schema(gzip.decompress(SCHEMA.read_bytes()).decode(), assume_valid=True)


class Deprecated(Visitor):
    """Collects the deprecated fields, arguments and enum values of a document."""

    def __init__(self, info: TypeInfo) -> None:
        super().__init__()
        self.found: list[str] = []
        self._info = info

    def enter_field(self, node: FieldNode, *_: object) -> None:
        definition = self._info.get_field_def()
        if definition and definition.deprecation_reason:
            self.found.append(node.name.value)

    def enter_argument(self, node: ArgumentNode, *_: object) -> None:
        argument = self._info.get_argument()
        if argument and argument.deprecation_reason:
            self.found.append(f"({node.name.value}:)")

    def enter_enum_value(self, node: EnumValueNode, *_: object) -> None:
        value = self._info.get_enum_value()
        if value and value.deprecation_reason:
            self.found.append(node.value)


def deprecated_in(schema: GraphQLSchema, document: DocumentNode) -> list[str]:
    info = TypeInfo(schema)
    visitor = Deprecated(info)
    visit(document, TypeInfoVisitor(info, visitor))
    return visitor.found


@each_query
def test_a_query_is_valid_in_the_genuine_schema(schema: GraphQLSchema, query: Query, first: int) -> None:
    assert validate(schema, parse(query.text)) == []


@each_query
def test_a_query_uses_nothing_deprecated(schema: GraphQLSchema, query: Query, first: int) -> None:
    assert deprecated_in(schema, parse(query.text)) == []


def test_deprecated_fields_are_found(schema: GraphQLSchema) -> None:
    document = parse("{ products(first: 1) { nodes { bodyHtml } } }")
    assert deprecated_in(schema, document) == ["bodyHtml"]


@each_query
def test_a_query_costs_what_we_estimate_and_never_more_than_shopify_allows(
    schema: GraphQLSchema, query: Query, first: int
) -> None:
    document = parse(query.text)
    [operation] = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
    reader = ChargeReader(schema=schema, fragments=fragments, variables={"first": first}, operation=operation)
    assert requested_cost(reader.read()) == query.estimated_cost(first) <= 1_000
