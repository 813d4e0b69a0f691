"""The texts about bulk operations, against the genuine schema and the rules of bulk."""

from __future__ import annotations

import re

import pytest
from graphql import parse, validate

from connector_svc.platforms.shopify.bulk_queries import CANCEL, LOOK, RUN, bulk_products
from connector_svc.platforms.shopify.queries import Query, product_page
from devstore.shopify.bulk_query import bulk_query_errors
from devstore.shopify.schema import admin_schema

each_text = pytest.mark.parametrize("inventory", [True, False])


@each_text
def test_the_query_keeps_the_rules_of_bulk(inventory: bool) -> None:
    assert bulk_query_errors(admin_schema(), bulk_products(inventory=inventory, marker="m")) == []


@pytest.mark.parametrize("query", [RUN, LOOK, CANCEL], ids=lambda query: str(query.name))
def test_the_calls_follow_the_schema(query: Query) -> None:
    assert validate(admin_schema(), parse(query.text)) == []


@each_text
def test_bulk_asks_for_every_field_that_a_page_asks_for(inventory: bool) -> None:
    paged = set(re.findall(r"\b[a-z]\w*", product_page(inventory=inventory).text))
    asked = set(re.findall(r"\b[a-z]\w*", bulk_products(inventory=inventory, marker="")))
    frame = {"query", "first", "after", "nodes", "pageInfo", "hasNextPage", "endCursor", "fragment", "media_type"}
    assert paged - asked - frame == set()


def test_inventory_is_asked_for_only_with_the_scope() -> None:
    assert "inventoryItem" in bulk_products(inventory=True, marker="m")
    assert "inventoryItem" not in bulk_products(inventory=False, marker="m")


def test_a_job_is_started_once_only() -> None:
    assert not RUN.repeatable
    assert LOOK.repeatable
    assert "groupObjects: false" in RUN.text
