"""Queries of bulk operations, against Shopify's published schema and the rules of bulk operations."""

from __future__ import annotations

import re

import pytest
from graphql import parse, validate

from connector_svc.platforms.shopify.bulk_jobs import BULK_JOB, CANCEL_BULK_JOB, RUN_BULK_JOB, bulk_products
from connector_svc.platforms.shopify.queries import Query, product_page
from devstore.shopify.bulk_query import bulk_query_errors
from devstore.shopify.schema import admin_schema

with_and_without_inventory = pytest.mark.parametrize("inventory", [True, False])


@with_and_without_inventory
def test_the_bulk_query_follows_the_rules_of_bulk_operations(inventory: bool) -> None:
    assert bulk_query_errors(admin_schema(), bulk_products(inventory=inventory, marker="m")) == []


@pytest.mark.parametrize("query", [RUN_BULK_JOB, BULK_JOB, CANCEL_BULK_JOB], ids=lambda query: str(query.name))
def test_bulk_job_queries_follow_the_schema(query: Query) -> None:
    assert validate(admin_schema(), parse(query.text)) == []


@with_and_without_inventory
def test_the_bulk_query_selects_every_field_of_a_page(inventory: bool) -> None:
    paged = set(re.findall(r"\b[a-z]\w*", product_page(inventory=inventory).text))
    bulk = set(re.findall(r"\b[a-z]\w*", bulk_products(inventory=inventory, marker="")))
    frame = {"query", "first", "after", "nodes", "pageInfo", "hasNextPage", "endCursor", "fragment", "media_type"}
    assert paged - bulk - frame == set()


def test_inventory_is_selected_only_with_the_scope() -> None:
    assert "inventoryItem" in bulk_products(inventory=True, marker="m")
    assert "inventoryItem" not in bulk_products(inventory=False, marker="m")


def test_starting_a_job_is_never_repeated() -> None:
    assert not RUN_BULK_JOB.idempotent
    assert BULK_JOB.idempotent
    assert "groupObjects: false" in RUN_BULK_JOB.text
