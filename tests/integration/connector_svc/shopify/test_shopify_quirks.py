"""Quirks of Shopify that cause silent errors, each enabled by a switch of the devstore."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from connector_svc.domain.errors import SourceForbidden, SourceQueryRefused, SourceRedirected
from connector_svc.platforms.shopify.queries import PRODUCT_IDS, deleted_between, updated_between
from devstore.spec import VariantRange
from tests.integration.connector_svc.shopify.test_shopify_devstore import (
    DOMAIN,
    SHOP,
    devstore,
    fetch,
    only_variant,
)
from tests.integration.connector_svc.shopify.test_shopify_hydration import reading


async def test_scopes_are_checked_before_the_first_page() -> None:
    async with devstore(5, edge_cases=False) as (store, platform):
        store.shopify(DOMAIN).quirks.scopes = ("read_orders",)
        with pytest.raises(SourceForbidden) as caught:
            await fetch(platform)
        assert store.requests(DOMAIN).by_operation == {"PassStart": 1}
    assert caught.value.metadata["missing"] == "read_products"


async def test_expired_cursors_in_any_listing_lose_nothing() -> None:
    async with devstore(620, edge_cases=False, variants=VariantRange(least=1, most=1)) as (store, platform):
        catalog = store.catalog(DOMAIN)
        after = datetime.now(UTC) - timedelta(minutes=5)
        for product in list(catalog.products())[:300]:
            catalog.delete_product(product.id)
        whole = await fetch(platform, after=after)
        pages = [count for name, count in store.requests(DOMAIN).by_operation.items() if name == "VariantStock"]
        quirks = store.shopify(DOMAIN).quirks
        quirks.cursors_expire = 3
        found = await fetch(platform, after=after)
        assert quirks.cursors_expire == 0
        assert pages == [2]
    reported = [
        (batch.listed_product_ids, batch.deleted_product_ids, batch.stock_levels) for batch in found.batches
    ]
    assert reported == [
        (one.listed_product_ids, one.deleted_product_ids, one.stock_levels) for one in whole.batches
    ]
    assert found.end == whole.end


@pytest.mark.parametrize(("own_scope", "reads_inventory"), [(False, True), (True, False)])
async def test_inventory_items_are_read_with_read_products_alone_unless_the_shop_refuses(
    own_scope: bool, reads_inventory: bool
) -> None:
    async with devstore(40) as (store, platform):
        quirks = store.shopify(DOMAIN).quirks
        quirks.scopes, quirks.inventory_has_own_scope = ("read_products",), own_scope
        found = await fetch(platform)
    assert len(found.products) == 40
    untracked = only_variant(found.products, store.catalog(DOMAIN), "untracked")
    assert (untracked.stock_quantity is None, untracked.weight is not None) == (reads_inventory, reads_inventory)
    assert bool(found.header.shop_info.notes) is own_scope


async def test_a_newer_api_version_is_reported_and_forbids_deletions() -> None:
    """airbyte#34333, PostHog PR #95585: the sunset of an API version changes data silently."""
    async with devstore(5, edge_cases=False) as (store, platform):
        store.shopify(DOMAIN).quirks.served_version = "2027-01"
        found = await fetch(platform)
    assert found.header.shop_info.served_api_version == "2027-01"
    assert "2027-01" in found.end.warnings[0]


async def test_an_older_api_version_is_rejected() -> None:
    async with devstore(5, edge_cases=False) as (store, platform):
        store.shopify(DOMAIN).quirks.served_version = "2026-01"
        with pytest.raises(SourceQueryRefused, match="2026-01"):
            await fetch(platform)


async def test_a_shop_with_another_domain_is_not_read() -> None:
    async with devstore(5, edge_cases=False) as (store, platform):
        store.shopify(DOMAIN).quirks.myshopify_domain = "renamed.myshopify.com"
        with pytest.raises(SourceRedirected) as caught:
            await platform.check(SHOP)
    assert caught.value.metadata["actual_domain"] == "renamed.myshopify.com"


async def test_stock_comes_from_the_variants_while_shopifys_totals_lag() -> None:
    async with devstore(5, edge_cases=False) as (store, platform):
        catalog = store.catalog(DOMAIN)
        store.shopify(DOMAIN).quirks.totals_lag = True
        variant = next(catalog.products()).variants[0]
        catalog.update_variant(variant.id, stock=4_321)
        found = await fetch(platform)
    stocks = {one.id: one.stock_quantity for product in found.products for one in product.variants}
    assert stocks[str(variant.id)] == 4_321


@pytest.mark.parametrize(
    "search", ["updated_at:>=2000-01-01T00:00:00Z", "updated_at:>='yesterday'", "changed_at:>='2000-01-01'"]
)
async def test_a_filter_that_shopify_ignores_is_an_error_and_not_all_products(search: str) -> None:
    async with reading(5) as shop:
        with pytest.raises(SourceQueryRefused, match="ignored a filter"):
            await shop.client.call(PRODUCT_IDS, {"first": 5, "after": None, "query": search})


def test_times_in_search_filters_are_quoted_and_in_utc() -> None:
    """airbyte PR #19492: Shopify cuts an unquoted time and reads it in the shop's time zone."""
    after = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
    until = after.astimezone().replace(microsecond=5) + timedelta(hours=1)
    assert updated_between(after, until) == (
        "updated_at:>='2026-11-20T12:30:00Z' AND updated_at:<='2026-11-20T13:30:00Z'"
    )
    assert deleted_between(after, until).endswith(
        "created_at:>='2026-11-20T12:30:00Z' AND created_at:<='2026-11-20T13:30:00Z'"
    )
