"""Shops are read by the configured strategy, and the same products are delivered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from connector_svc.platforms.shopify import SHOPIFY
from connector_svc.platforms.shopify.read_strategy import BulkPolicy, ReadStrategy
from connector_svc.settings import settings_with_options
from tests.integration.connector_svc.shopify.bulk_shop import FAST_POLICY, bulk_shop


@pytest.mark.parametrize(
    ("configured", "policy", "strategy"),
    [
        (ReadStrategy.PAGING, FAST_POLICY, "paging"),
        (ReadStrategy.IDS, FAST_POLICY, "hydration"),
        (ReadStrategy.BULK, BulkPolicy(first_poll_interval=FAST_POLICY.first_poll_interval), "bulk"),
    ],
)
async def test_a_shop_is_read_as_configured(configured: ReadStrategy, policy: BulkPolicy, strategy: str) -> None:
    async with bulk_shop(10, edge_cases=False, policy=policy, strategy=configured) as shop:
        found = await shop.fetch()
        assert found.header.strategy == strategy
        assert found.header.strategy_reason.startswith("the operator has configured it")
        assert bool(shop.call_count("RunBulk")) is (strategy == "bulk")
        assert found.products == (await shop.paged()).products


async def test_an_incremental_pass_never_runs_a_bulk_job() -> None:
    async with bulk_shop(10, edge_cases=False, strategy=ReadStrategy.BULK) as shop:
        found = await shop.fetch(after=datetime.now(UTC) - timedelta(days=1))
        assert found.header.strategy != "bulk"
        assert shop.call_count("RunBulk") == 0


async def test_a_refused_bulk_job_is_replaced() -> None:
    async with bulk_shop(10, edge_cases=False, strategy=ReadStrategy.BULK) as shop:
        shop.jobs.switches.refuses = "LIMIT_REACHED"
        found = await shop.fetch()
        assert found.header.strategy == "paging"
        assert found.products == (await shop.paged()).products


def test_the_setting_accepts_the_documented_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_SHOPIFY_STRATEGY", "bulk")
    assert configured_strategy() is ReadStrategy.BULK
    monkeypatch.delenv("CONNECTOR_SHOPIFY_STRATEGY")
    assert configured_strategy() is ReadStrategy.AUTO


def configured_strategy() -> object:
    """Return the setting as the registry passes it to the platform."""
    return settings_with_options([SHOPIFY])().options_of(SHOPIFY)["strategy"]
