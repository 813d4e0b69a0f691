"""The requested cost of a query is the recorded or measured one."""

from __future__ import annotations

import pytest
from graphql import FragmentDefinitionNode, OperationDefinitionNode, parse, validate

from devstore.shopify.query_cost import ChargeReader, actual_cost, multiplier, requested_cost
from devstore.shopify.schema import admin_schema

PRODUCT = "product(id: $id)"
FULL_VARIANT = "id sku selectedOptions{name value} inventoryItem{tracked measurement{weight{value unit}}}"
FULL_PRODUCT = """
    id title category{id} options{name optionValues{name}} featuredMedia{preview{image{url}}} seo{title}
    variantsCount{count} media(first: 10){nodes{... on MediaImage{image{url}}}}
"""
VECTORS = [
    ("{products(first: 1){nodes{id}}}", 3),
    ("{products(first: 50){nodes{id title handle status}}}", 9),
    ("{products(first: 250){nodes{id updatedAt}}}", 13),
    ("{products(first: 250){nodes{id} edges{cursor}}}", 24),
    ("{productsCount(limit: null){count precision}}", 10),
    ("{productVariantsCount{count}}", 2),
    ("{events(first: 250){nodes{... on BasicEvent{id message}}}}", 13),
    (f"query($id: ID!){{{PRODUCT}{{variants(first: 250){{nodes{{inventoryItem{{id tracked}}}}}}}}}}", 25),
    (
        f"query($id: ID!){{{PRODUCT}{{options{{optionValues{{name}}}}"
        " variants(first: 10){nodes{selectedOptions{name}}}}}",
        13,
    ),
    (
        f"query($id: ID!){{{PRODUCT}{{media(first: 50){{nodes{{preview{{image{{url}}}} "
        "... on MediaImage{image{url}}}} variants(first: 50){nodes{media(first: 10){nodes{id}}}}}}",
        82,
    ),
    (f"query($id: ID!){{{PRODUCT}{{variants(first: 2048){{nodes{{id price}}}}}}}}", 18),
    (
        f"{{products(first: 250){{nodes{{{FULL_PRODUCT} variants(first: 250){{nodes{{{FULL_VARIANT}}}}}}}}}}}",
        596,
    ),
    (
        f"{{products(first: 250){{nodes{{{FULL_PRODUCT} variants(first: 100){{nodes{{{FULL_VARIANT}}}}}}}}}}}",
        530,
    ),
    (
        f"{{products(first: 50){{nodes{{{FULL_PRODUCT} variants(first: 250){{nodes{{{FULL_VARIANT}}}}}}}}}}}",
        380,
    ),
    (f"{{products(first: 10){{nodes{{{FULL_PRODUCT} variants(first: 250){{nodes{{{FULL_VARIANT}}}}}}}}}}}", 218),
    (f"{{productVariants(first: 250){{nodes{{{FULL_VARIANT} product{{id}}}}}}}}", 46),
    (f"query($id: ID!){{{PRODUCT}{{variants(first: 250){{nodes{{{FULL_VARIANT}}}}}}}}}", 36),
    (f"query($id: ID!){{{PRODUCT}{{variants(first: 2048){{nodes{{{FULL_VARIANT}}}}}}}}}", 48),
    (
        f"query($ids: [ID!]!){{nodes(ids: $ids){{... on Product{{{FULL_PRODUCT}"
        f" variants(first: 250){{nodes{{{FULL_VARIANT}}}}}}}}}}}",
        54,
    ),
    ("{publicApiVersions{handle supported}}", 1),
    ("{shop{name currencyCode}}", 1),
    ("{currentAppInstallation{accessScopes{handle}}}", 2),
]


def cost_of(query: str, **variables: object) -> int:
    tree = parse(query)
    assert not validate(admin_schema(), tree)
    operation = next(d for d in tree.definitions if isinstance(d, OperationDefinitionNode))
    fragments = {d.name.value: d for d in tree.definitions if isinstance(d, FragmentDefinitionNode)}
    reader = ChargeReader(schema=admin_schema(), fragments=fragments, variables=variables, operation=operation)
    return requested_cost(reader.read())


@pytest.mark.parametrize(("query", "cost"), VECTORS)
def test_a_query_has_the_recorded_cost(query: str, cost: int) -> None:
    assert cost_of(query) == cost


@pytest.mark.parametrize(
    ("first", "times"),
    [(1, 1), (2, 1), (3, 2), (5, 3), (10, 4), (20, 5), (25, 6), (50, 7), (100, 9), (250, 11), (2048, 15)],
)
def test_the_cost_of_a_page_grows_with_the_logarithm_of_its_size(first: int, times: int) -> None:
    assert multiplier(first) == times


def test_the_page_size_may_come_from_a_variable_or_its_default() -> None:
    query = "query($n: Int = 50){products(first: $n){nodes{id}}}"
    assert (cost_of(query), cost_of(query, n=250)) == (9, 13)


def test_fragments_and_repeated_fields_are_charged_once() -> None:
    query = """
        query {products(first: 250){nodes{...A ...B seo{title}}}}
        fragment A on Product {seo{title} id} fragment B on Product {seo{description}}
    """
    assert cost_of(query) == 2 + 11 * 2


def test_only_the_most_expensive_of_several_types_is_charged() -> None:
    query = """query($ids: [ID!]!){nodes(ids: $ids){
        ... on Product{seo{title} category{id}} ... on ProductVariant{inventoryItem{id}}}}"""
    assert cost_of(query) == 3


def test_skipped_fields_cost_nothing() -> None:
    query = "query($full: Boolean!){products(first: 250){nodes{id seo @include(if: $full){title}}}}"
    assert (cost_of(query, full=True), cost_of(query, full=False)) == (24, 13)


def test_missing_rows_and_objects_are_not_charged() -> None:
    tree = parse("{products(first: 250){nodes{featuredMedia{preview{image{url}}}}}}")
    operation = next(d for d in tree.definitions if isinstance(d, OperationDefinitionNode))
    charges = ChargeReader(schema=admin_schema(), fragments={}, variables={}, operation=operation).read()
    assert requested_cost(charges) == 2 + 11 * 4
    assert actual_cost(charges, {"products": {"nodes": []}}) == 2
    assert actual_cost(charges, {"products": {"nodes": [{"featuredMedia": None}] * 10}}) == 2 + 4
