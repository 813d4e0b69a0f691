"""`catalogsync verify` as a process, against a fake catalog on real sockets."""

from __future__ import annotations

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import AuditDifference, AuditSummary, CatalogAudit

from tests.fakes.catalog_service import FakeCatalog, timestamp
from tests.unit.cli.conftest import CommandLine

NAME = "shopify:demo.myshopify.com"


@pytest.fixture(autouse=True)
def registered(catalog: FakeCatalog) -> None:
    catalog.items[NAME] = []


def drifted() -> CatalogAudit:
    difference = AuditDifference(
        product_id="4711",
        item_id="4711-2",
        kind=AuditDifference.KIND_VALUE,
        cause=AuditDifference.CAUSE_DRIFT,
        field="price",
        stored_value="10.01",
        found_value="10.00",
        stored_time=timestamp(1_700_000_000),
    )
    missing = AuditDifference(
        product_id="4712", kind=AuditDifference.KIND_MISSING, cause=AuditDifference.CAUSE_BEHIND
    )
    return CatalogAudit(
        checked_product_count=200,
        checked_item_count=1_234,
        drifted_product_count=1,
        behind_product_count=1,
        different_item_count=1,
        repaired_product_count=2,
        differences=[difference, missing],
    )


async def test_verify_shows_what_differs_and_since_when_and_exits_with_1_after_drift(
    catalog: FakeCatalog, run: CommandLine
) -> None:
    catalog.audits[NAME] = drifted()
    result = await run("verify", NAME, "--sample", "300")
    assert result.code == 1
    for text in ("4711-2", "price", "DRIFT", "10.01", "10.00", "2023-11-14", "missing", "BEHIND", "1,234 items"):
        assert text in result.out
    (request,) = [request for method, request, _ in catalog.requests if method == "VerifyCatalog"]
    assert request.sample_size == 300
    as_json = await run("verify", NAME, "--json")
    assert as_json.code == 1
    assert as_json.documents[0]["differences"][0]["storedValue"] == "10.01"


@pytest.mark.parametrize(
    "audit", [CatalogAudit(), CatalogAudit(behind_product_count=3), CatalogAudit(undated_product_count=2)]
)
async def test_without_drift_verify_exits_with_0(
    catalog: FakeCatalog, run: CommandLine, audit: CatalogAudit
) -> None:
    catalog.audits[NAME] = audit
    assert (await run("verify", NAME)).code == 0


async def test_rows_of_products_that_are_gone_are_shown_and_exit_with_1(
    catalog: FakeCatalog, run: CommandLine
) -> None:
    catalog.audits[NAME] = CatalogAudit(checked_product_count=200, missing_row_count=3)
    result = await run("verify", NAME)
    assert result.code == 1
    assert "rows of 3 products; a full sync was requested" in result.out


async def test_an_audit_that_ends_without_a_result_is_an_error(catalog: FakeCatalog, run: CommandLine) -> None:
    catalog.audits_break = True
    result = await run("verify", NAME)
    assert result.code == 4
    assert "ended without a result" in result.err


async def test_the_sample_is_limited_and_the_shop_must_be_registered(run: CommandLine) -> None:
    assert (await run("verify", NAME, "--sample", "1001")).code == 2
    assert (await run("verify", "shopify:unknown.myshopify.com")).code == 3


async def test_status_shows_the_last_audit(catalog: FakeCatalog, run: CommandLine) -> None:
    catalog.last_audits[NAME] = AuditSummary(
        end_time=timestamp(1_700_000_000), checked_product_count=1_200, drifted_product_count=3
    )
    result = await run("status", NAME)
    assert "2023-11-14 22:13:20Z: 3 of 1,200 products had drift" in result.out
