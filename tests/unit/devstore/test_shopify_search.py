"""Searches of a Shopify shop: the syntax, and its three silent traps."""

from __future__ import annotations

from typing import Any

from devstore.shopify.scalars import format_datetime
from devstore.shopify.search import Term, parse_search
from tests.unit.devstore.conftest import Client

QUERY = "query($q: String){products(first: 250, query: $q){nodes{id updatedAt status}}}"
DOMAIN = "demo.myshopify.com"


async def found(client: Client, search: str) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = (await client.data(QUERY, q=search))["products"]["nodes"]
    return nodes


async def test_a_search_by_id_finds_the_rest_of_a_list(client: Client) -> None:
    ids = [product.id for product in client.catalog(DOMAIN).products()]
    rest = await found(client, f"id:>{ids[9]}")
    assert [node["id"] for node in rest] == [f"gid://shopify/Product/{i}" for i in ids[10:]]


async def test_a_quoted_time_is_a_bound(client: Client) -> None:
    times = sorted(product.updated for product in client.catalog(DOMAIN).products())
    later = await found(client, f"updated_at:>='{format_datetime(times[30])}'")
    assert len(later) == sum(time >= times[30] for time in times)


async def test_two_bounds_are_a_window(client: Client) -> None:
    times = sorted(product.updated for product in client.catalog(DOMAIN).products())
    low, high = format_datetime(times[40]), format_datetime(times[50])
    window = await found(client, f"updated_at:>='{low}' AND updated_at:<='{high}'")
    assert len(window) == sum(times[40] <= time <= times[50] for time in times)


async def test_statuses_can_be_searched(client: Client) -> None:
    assert {node["status"] for node in await found(client, "status:archived,draft")} == {"ARCHIVED", "DRAFT"}


async def test_an_unknown_field_is_ignored_and_only_reported_in_extensions(client: Client) -> None:
    body = (await client.graphql(QUERY, q="updated:>'2026-01-01'")).body
    assert len(body["data"]["products"]["nodes"]) == 60
    warning = body["extensions"]["search"][0]["warnings"][0]
    assert (warning["field"], warning["code"]) == ("updated", "invalid_field")


async def test_an_unquoted_time_is_parsed_in_the_shops_zone_with_a_warning(client: Client) -> None:
    product = client.catalog(DOMAIN).edge_case("draft")
    unquoted = f"id:{product.id} updated_at:<={product.updated:%Y-%m-%dT%H}:59:59Z"
    body = (await client.graphql(QUERY, q=unquoted)).body
    # In the shop's zone the bound is five hours later; the minutes are lost either way.
    assert len(body["data"]["products"]["nodes"]) == 1
    earlier = f"id:{product.id} updated_at:>={product.updated:%Y-%m-%dT%H}:00:00Z"
    assert (await client.graphql(QUERY, q=earlier)).body["data"]["products"]["nodes"] == []
    assert body["extensions"]["search"][0]["warnings"]


async def test_a_valid_search_has_no_warnings(client: Client) -> None:
    assert "search" not in (await client.graphql(QUERY, q="status:active")).body["extensions"]


async def test_an_empty_value_is_an_internal_error(client: Client) -> None:
    error = (await client.graphql(QUERY, q="updated_at:>")).body["errors"][0]
    assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert error["extensions"]["requestId"]


def terms(query: str) -> list[tuple[str, str, str]]:
    return [(term.field, term.op, term.value) for term in parse_search(query)[0]]


def test_a_quoted_time_is_one_value() -> None:
    query = "updated_at:>='2026-11-20T10:00:00Z' AND status:active"
    assert terms(query) == [("updated_at", ">=", "2026-11-20T10:00:00Z"), ("status", "", "active")]


def test_an_unquoted_time_is_cut_after_its_hour_and_the_rest_has_no_field() -> None:
    assert terms("updated_at:<2000-01-01T00:00:00Z")[0] == ("updated_at", "<", "2000-01-01T00")
    assert [field for field, _, _ in terms("updated_at:<2000-01-01T00:00:00Z")] == ["updated_at", ""]


def test_alternatives_and_negations_are_parsed() -> None:
    assert parse_search("status:draft OR NOT vendor:'A B'") == (
        (Term(field="status", op="", value="draft"),),
        (Term(field="vendor", op="", value="A B", negated=True),),
    )


def test_a_field_without_a_value_is_detected() -> None:
    assert parse_search("updated_at:>")[0][0].lacks_value
