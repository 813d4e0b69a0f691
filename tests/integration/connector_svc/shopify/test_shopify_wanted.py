"""Shops are read as the operator wants, and the same products come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from connector_svc.platforms.shopify.bulk_policy import BulkPolicy
from connector_svc.platforms.shopify.wanted import Wanted
from connector_svc.settings import ConnectorSettings
from tests.integration.connector_svc.shopify.bulk_shop import QUICK, bulk_shop


@pytest.mark.parametrize(
    ("wanted", "policy", "strategy"),
    [
        (Wanted.PAGING, QUICK, "paging"),
        (Wanted.IDS, QUICK, "hydration"),
        (Wanted.BULK, BulkPolicy(first_poll=QUICK.first_poll), "bulk"),
    ],
)
async def test_a_shop_is_read_as_the_operator_wants(wanted: Wanted, policy: BulkPolicy, strategy: str) -> None:
    async with bulk_shop(10, edge_cases=False, policy=policy, wanted=wanted) as shop:
        found = await shop.fetch()
        assert found.header.strategy == strategy
        assert found.header.strategy_reason.startswith("the operator wants it so")
        assert bool(shop.asked("RunBulk")) is (strategy == "bulk")
        assert found.products == (await shop.paged()).products


async def test_an_incremental_pass_is_never_a_bulk_job() -> None:
    async with bulk_shop(10, edge_cases=False, wanted=Wanted.BULK) as shop:
        found = await shop.fetch(after=datetime.now(UTC) - timedelta(days=1))
        assert found.header.strategy != "bulk"
        assert shop.asked("RunBulk") == 0


async def test_a_refused_bulk_job_is_replaced() -> None:
    async with bulk_shop(10, edge_cases=False, wanted=Wanted.BULK) as shop:
        shop.jobs.switches.refuses = "LIMIT_REACHED"
        found = await shop.fetch()
        assert found.header.strategy == "paging"
        assert found.products == (await shop.paged()).products


def test_the_setting_has_the_names_of_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_SHOPIFY_STRATEGY", "bulk")
    assert ConnectorSettings().shopify_strategy is Wanted.BULK
    monkeypatch.delenv("CONNECTOR_SHOPIFY_STRATEGY")
    assert ConnectorSettings().shopify_strategy is Wanted.AUTO
