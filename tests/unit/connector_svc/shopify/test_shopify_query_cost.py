"""The estimated cost equals the recorded one; the rule is in `connector_svc.platforms.shopify.query_cost`."""

from __future__ import annotations

import pytest

from connector_svc.platforms.shopify.query_cost import multiplier, requested_cost

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
    ("{products(first: 250){edges{cursor node{seo{title}}}}}", 24),
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
    (f"{{products(first: 250){{nodes{{{FULL_PRODUCT} variants(first: 250){{nodes{{{FULL_VARIANT}}}}}}}}}}}", 596),
    (f"{{products(first: 250){{nodes{{{FULL_PRODUCT} variants(first: 100){{nodes{{{FULL_VARIANT}}}}}}}}}}}", 530),
    (f"{{products(first: 50){{nodes{{{FULL_PRODUCT} variants(first: 250){{nodes{{{FULL_VARIANT}}}}}}}}}}}", 380),
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
    ("query($id: ID!){bulkOperation(id: $id){id status objectCount}}", 1),
    ("query($ids: [ID!]!){nodes(ids: $ids){... on Product{seo{title} category{id}} ... on Order{seo{id}}}}", 3),
]


@pytest.mark.parametrize(("query", "cost"), VECTORS)
def test_the_estimated_cost_is_the_recorded_cost(query: str, cost: int) -> None:
    assert requested_cost(query) == cost


@pytest.mark.parametrize(
    ("first", "times"),
    [(0, 0), (1, 1), (2, 1), (3, 2), (5, 3), (10, 4), (20, 5), (25, 6), (50, 7), (100, 9), (250, 11), (2048, 15)],
)
def test_a_page_pays_for_the_logarithm_of_its_size(first: int, times: int) -> None:
    assert multiplier(first) == times


def test_the_page_size_is_read_from_its_variable() -> None:
    query = "query P($first: Int!) { products(first: $first) { nodes { id } } }"
    assert [requested_cost(query, {"first": first}) for first in (1, 50, 250)] == [3, 9, 13]


def test_fragments_are_charged_where_they_are_used() -> None:
    query = "query P { products(first: 250) { nodes { ...A } } } fragment A on Product { seo { title } id }"
    assert requested_cost(query) == 2 + 11 * 2
