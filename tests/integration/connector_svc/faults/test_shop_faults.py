"""Every fault of the devstore: the catalog is complete or the failure is clear, and no row is lost."""

from __future__ import annotations

import asyncio
import logging
import traceback
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from devstore.catalog.model import Platform
from devstore.churn import churning
from devstore.faults import FaultKind, RequestMatcher, ScriptedFault
from devstore.spec import ShopSpec
from tests.integration.connector_svc.faults.resuming_reader import LONG_TIMEOUT, reading

SPECS = {
    "shopify": ShopSpec(platform=Platform.SHOPIFY, domain="demo.myshopify.com", products=50, edge_cases=False),
    "woocommerce-8.2": ShopSpec(
        platform=Platform.WOOCOMMERCE, domain="old.example", products=50, version="8.2", edge_cases=False
    ),
    "woocommerce-10.3": ShopSpec(
        platform=Platform.WOOCOMMERCE, domain="store.example", products=50, version="10.3", edge_cases=False
    ),
    "bigcommerce": ShopSpec(
        platform=Platform.BIGCOMMERCE, domain="store-abc123.mybigcommerce.com", products=50, edge_cases=False
    ),
    "feed": ShopSpec(platform=Platform.FEED, domain="feed.example", products=50, edge_cases=False),
}
WHERE = {Platform.FEED: "feeds/"}
"""Part of the path of requests for products."""
_ELSEWHERE = {FaultKind.STATUS, FaultKind.DRIP, FaultKind.HANG, FaultKind.DROPPED_ROWS}
"""Tested below, with options or in a test of their own."""
FAULTS: dict[str, dict[str, Any]] = {
    "429": {"kind": FaultKind.STATUS, "status": 429},
    "429-seconds": {"kind": FaultKind.STATUS, "status": 429, "retry_after": 2},
    "429-date": {"kind": FaultKind.STATUS, "status": 429, "retry_after": 2, "as_date": True},
    "500": {"kind": FaultKind.STATUS, "status": 500},
    "502": {"kind": FaultKind.STATUS, "status": 502},
    "503": {"kind": FaultKind.STATUS, "status": 503, "retry_after": 1},
    **{kind.value: {"kind": kind} for kind in FaultKind if kind not in _ELSEWHERE},
    "drip": {"kind": FaultKind.DRIP, "bytes_per_second": 100},
    "hang": {"kind": FaultKind.HANG},
}
REASONS = {
    "429": {"SOURCE_RATE_LIMITED"},
    "429-seconds": {"SOURCE_RATE_LIMITED"},
    "429-date": {"SOURCE_RATE_LIMITED"},
    "html": {"SOURCE_RESPONSE_INVALID"},
    "gzip_bomb": {"SOURCE_RESPONSE_INVALID"},
    "deep": {"SOURCE_RESPONSE_INVALID"},
    "wrong_type": {"SOURCE_RESPONSE_INVALID"},
    "redirect": {"SOURCE_REDIRECTED"},
    "empty": {"SOURCE_RESPONSE_INVALID", "SOURCE_UNREACHABLE"},
    "truncated": {"SOURCE_RESPONSE_INVALID", "SOURCE_UNREACHABLE"},
}
"""Of a shop with a permanent fault; all others: SOURCE_UNREACHABLE."""
TIMEOUTS = dict.fromkeys(("drip", "hang"), timedelta(seconds=1.5))
"""Of faults that end only by the timeout; all others get enough time for a busy machine."""


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults-tls")


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
async def test_an_occasional_fault_loses_no_row(spec: ShopSpec, name: str, certificates: Path) -> None:
    async with reading(spec, certificates, total_timeout=TIMEOUTS.get(name, LONG_TIMEOUT)) as reader:
        fault = ScriptedFault(**FAULTS[name], matcher=RequestMatcher(nth=frozenset({2, 4, 5})))
        reader.store.add_fault(spec.domain, fault)
        await reader.read(passes=8)
        assert fault.matched
        assert reader.end is not None, reader.failures
        assert reader.rows() == reader.expected()
        assert {failure.reason for failure in reader.failures} <= REASONS.get(name, {"SOURCE_UNREACHABLE"})


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
async def test_a_permanent_fault_is_a_clear_failure_and_never_an_empty_shop(
    spec: ShopSpec, name: str, certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    total_timeout = TIMEOUTS.get(name, LONG_TIMEOUT)
    async with reading(spec, certificates, total_timeout=total_timeout) as reader, asyncio.timeout(60):
        fault = ScriptedFault(**FAULTS[name], matcher=RequestMatcher(where=WHERE.get(spec.platform, "products")))
        reader.store.add_fault(spec.domain, fault)
        await reader.read()
        assert fault.matched
        if name == "wrong_type" and reader.end is not None:
            assert reader.rows() == reader.expected()
            return
        assert reader.end is None
        [failure] = reader.failures
        assert failure.reason in REASONS.get(name, {"SOURCE_UNREACHABLE"})
        assert failure.message.startswith(f"{spec.platform.value}:{spec.domain}: ")
        text = "".join(traceback.format_exception(failure)) + repr(vars(failure)) + caplog.text
        assert not [secret for secret in spec.credentials.values() if secret in text]


@pytest.mark.parametrize("name", ["woocommerce-8.2", "woocommerce-10.3", "bigcommerce"])
async def test_a_shop_that_drops_a_row_of_every_page_is_read_whole_or_not_complete(
    name: str, certificates: Path
) -> None:
    spec = SPECS[name]
    async with reading(spec, certificates, total_timeout=LONG_TIMEOUT) as reader:
        reader.store.add_fault(
            spec.domain, ScriptedFault(kind=FaultKind.DROPPED_ROWS, matcher=RequestMatcher(where="products"))
        )
        await reader.read()
        if reader.end is None:
            assert [failure.reason for failure in reader.failures] == ["SOURCE_COUNT_MISMATCH"]
        else:
            assert reader.end.warnings
            assert reader.rows() == reader.expected()


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
async def test_a_shop_where_a_tenth_of_the_requests_fails_is_read_whole(
    spec: ShopSpec, certificates: Path
) -> None:
    kinds = (FaultKind.RESET_BEFORE, FaultKind.CUT, FaultKind.TRUNCATED, FaultKind.STATUS)
    async with reading(spec, certificates) as reader:
        for seed, kind in enumerate(kinds):
            reader.store.add_fault(
                spec.domain, ScriptedFault(kind=kind, matcher=RequestMatcher(share=0.1, seed=seed))
            )
        await reader.read(passes=30)
        assert reader.end is not None, reader.failures
        assert reader.rows() == reader.expected()


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
async def test_products_that_exist_throughout_are_read_from_a_changing_catalog(
    spec: ShopSpec, certificates: Path
) -> None:
    async with reading(replace(spec, products=150), certificates, latency=0.05) as reader:
        before = {product.id for product in reader.catalog.products()}
        async with churning(reader.catalog, changes_per_second=500, seed=3) as churn:
            await reader.read(passes=10)
        assert sum(churn.counts.values()) > 5
        after = {product.id for product in reader.catalog.products() if product.status != "trash"}
        assert reader.end is not None, reader.failures
        assert {str(number) for number in before & after} <= reader.stored.keys()
