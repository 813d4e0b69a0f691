"""Errors of the Python client: one class for each reason, and readable messages when the network failed."""

from __future__ import annotations

import grpc
import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import ListSyncsRequest, Shop
from catalogsync.errors.v1.error_reason_pb2 import ErrorReason
from catalogsync_client import (
    CallTimedOut,
    CatalogClient,
    ServiceUnavailable,
    UnexpectedError,
    reasons,
)
from catalogsync_common.failure import InvalidRequest
from catalogsync_common.status import RETRY_DELAYS, ReceivedFailure

from tests.fakes.catalog_service import CatalogServer, FakeCatalog

REASONS = {value.name.removeprefix("ERROR_REASON_") for value in ErrorReason.DESCRIPTOR.values} - {"UNSPECIFIED"}


def test_every_reason_of_the_contract_has_a_class() -> None:
    assert set(reasons.BY_REASON) == REASONS


def test_the_classes_of_transient_errors_are_those_with_a_retry_delay() -> None:
    transient = {name for name, each in reasons.BY_REASON.items() if issubclass(each, reasons.TransientError)}
    assert transient == set(RETRY_DELAYS)


@pytest.mark.parametrize("reason", sorted(REASONS - {"NOT_IMPLEMENTED"}))
def test_every_class_says_what_to_do(reason: str) -> None:
    assert reasons.BY_REASON[reason].what_to_do.endswith(".")


async def test_a_call_raises_the_class_of_its_reason(
    catalog: FakeCatalog, server: CatalogServer, shop: Shop
) -> None:
    running = catalog.add_sync(shop)
    async with CatalogClient(server.address) as client:
        with pytest.raises(reasons.SyncAlreadyRunning) as already:
            await client.start_sync("shopify:demo.myshopify.com")
        with pytest.raises(reasons.SyncNotFound):
            await client.get_sync("01a225a6-9b86-7723-98e2-2fbdc3000000")
    assert already.value.sync_id == running.sync_id


def test_a_reason_of_a_newer_release_is_an_unexpected_error() -> None:
    failure = ReceivedFailure(code=grpc.StatusCode.ABORTED, message="new", reason="OF_NEXT_YEAR")
    error = reasons.error_of(failure, callee="catalog")
    assert type(error) is UnexpectedError
    assert error.reason == "OF_NEXT_YEAR"


async def test_an_unreachable_service_is_named_with_its_address() -> None:
    async with CatalogClient("127.0.0.1:1", timeout_seconds=5) as client:
        with pytest.raises(ServiceUnavailable) as caught:
            await client.get_sync("01a225a6-9b86-7723-98e2-2fbdc3000000")
    assert "127.0.0.1:1" in caught.value.message
    assert caught.value.reason == ""


def test_a_timeout_says_how_long_the_call_has_waited() -> None:
    failure = ReceivedFailure(code=grpc.StatusCode.DEADLINE_EXCEEDED, message="Deadline Exceeded")
    error = reasons.error_of(failure, callee="catalog_svc at a:1", timeout=2.5)
    assert isinstance(error, CallTimedOut)
    assert error.message == "catalog_svc at a:1 did not answer within 2.5 s"


async def test_the_fields_of_an_invalid_request_are_listed(catalog: FakeCatalog, server: CatalogServer) -> None:
    catalog.errors["ListSyncs"] = [InvalidRequest.of("page_size", "must be at most 500")]
    async with CatalogClient(server.address) as client:
        with pytest.raises(reasons.InvalidRequest) as caught:
            async for _ in client.syncs(ListSyncsRequest()):
                pass
    assert [violation.field for violation in caught.value.violations] == ["page_size"]
