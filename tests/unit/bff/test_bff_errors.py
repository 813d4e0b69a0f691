"""Errors of the catalog as HTTP: one table, complete, without texts that name internals."""

from __future__ import annotations

from datetime import timedelta

import grpc
import pytest
from aiohttp import web
from catalogsync.errors.v1.error_reason_pb2 import ErrorReason
from catalogsync_bff.app import build_app
from catalogsync_bff.callers import Callers
from catalogsync_bff.csrf import CsrfGuard
from catalogsync_bff.errors import HTTP_STATUSES, http_error
from catalogsync_bff.metrics import BffMetrics
from catalogsync_bff.routing import Gatekeeper, Route
from catalogsync_bff.sessions import SessionCookie, Sessions
from catalogsync_bff.upstream import Upstream
from catalogsync_client import CatalogClient, CatalogSyncError
from catalogsync_client.reasons import error_of
from catalogsync_common.auth.secret_keys import HmacKeys
from catalogsync_common.failure import FieldViolation
from catalogsync_common.status import RETRY_DELAYS, STATUS_CODES, ReceivedFailure
from prometheus_client import CollectorRegistry

from tests.bff_client import BffClient
from tests.fakes.catalog_service import CatalogServer, FailureWithReason, FakeCatalog


def failed(
    reason: str = "", code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, **more: object
) -> CatalogSyncError:
    """Return an error of a call."""
    failure = ReceivedFailure(code=code, message="10.0.0.7:50051 says no", reason=reason, **more)  # type: ignore[arg-type]
    return error_of(failure, callee="catalog_svc at 10.0.0.7:50051", timeout=10)


def test_every_reason_of_the_contract_has_a_status() -> None:
    reasons = {one.name.removeprefix("ERROR_REASON_") for one in ErrorReason.DESCRIPTOR.values} - {"UNSPECIFIED"}
    assert set(HTTP_STATUSES) == reasons
    assert all(400 <= status < 600 for status in HTTP_STATUSES.values())


@pytest.mark.parametrize("reason", sorted(RETRY_DELAYS))
def test_what_is_right_to_repeat_is_no_error_of_the_caller(reason: str) -> None:
    """Browsers and platforms repeat after 503 and 429 only."""
    assert HTTP_STATUSES[reason] in (429, 503)


def test_a_status_tells_the_same_as_the_status_code_of_grpc() -> None:
    expected = {
        grpc.StatusCode.NOT_FOUND: {404},
        grpc.StatusCode.UNAUTHENTICATED: {401},
        grpc.StatusCode.ALREADY_EXISTS: {409},
        grpc.StatusCode.UNAVAILABLE: {503},
        grpc.StatusCode.INTERNAL: {502},
        grpc.StatusCode.UNIMPLEMENTED: {501},
    }
    for reason, status in HTTP_STATUSES.items():
        assert status in expected.get(STATUS_CODES[reason], {status}), reason


def test_details_have_the_metadata_and_the_invalid_fields() -> None:
    violation = FieldViolation(field="text", description="too short")
    error = http_error(
        failed("INVALID_REQUEST", metadata={"a": "b"}, violations=(violation,)), caller_has_token=False
    )
    assert error.details == {"a": "b", "violations": [{"field": "text", "description": "too short"}]}


def test_a_retry_delay_becomes_whole_seconds() -> None:
    error = failed("RATE_LIMITED", grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after=timedelta(milliseconds=1200))
    assert http_error(error, caller_has_token=False).headers == {"Retry-After": "2"}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (failed(), 503, "CATALOG_UNAVAILABLE"),
        (failed(code=grpc.StatusCode.DEADLINE_EXCEEDED), 504, "CATALOG_TIMEOUT"),
        (failed(code=grpc.StatusCode.UNKNOWN), 502, "CATALOG_ERROR"),
        (failed("A_NEW_REASON", grpc.StatusCode.FAILED_PRECONDITION), 502, "CATALOG_ERROR"),
    ],
)
def test_failures_of_the_network_name_no_address(error: CatalogSyncError, status: int, code: str) -> None:
    answered = http_error(error, caller_has_token=False)
    assert (answered.status, answered.code) == (status, code)
    assert "10.0.0.7" not in answered.message


@pytest.mark.parametrize("reason", ["UNAUTHENTICATED", "TOKEN_EXPIRED"])
def test_only_a_caller_with_a_token_is_told_that_the_token_is_refused(reason: str) -> None:
    """A browser that got 401 would sign in again and again, while the BFF's own key is wrong."""
    error = failed(reason, grpc.StatusCode.UNAUTHENTICATED)
    assert http_error(error, caller_has_token=True).status == 401
    assert http_error(error, caller_has_token=False).status == 502


async def test_errors_are_answered_in_the_envelope(bff: BffClient, catalog: FakeCatalog) -> None:
    failure = FailureWithReason("SYNC_ALREADY_RUNNING", "it runs", metadata={"sync_id": "s-1"})
    catalog.errors["StartSync"] = [failure]
    answer = await bff.post("/sync", json={"platform": "shopify", "domain": "demo.myshopify.com"})
    assert answer.status == 409
    assert answer.envelope["error"] == {
        "code": "SYNC_ALREADY_RUNNING",
        "message": "it runs",
        "details": {"sync_id": "s-1"},
    }


async def test_a_catalog_that_is_gone_is_answered_with_503(bff: BffClient, server: CatalogServer) -> None:
    await server.kill()
    answer = await bff.get("/shops")
    assert (answer.status, answer.code) == (503, "CATALOG_UNAVAILABLE")
    assert answer.headers["Retry-After"] == "2"


async def test_an_internal_error_of_the_catalog_is_answered_without_its_text(
    bff: BffClient, catalog: FakeCatalog
) -> None:
    catalog.errors["ListShops"] = [RuntimeError("secret-of-the-service")]
    answer = await bff.get("/shops")
    assert (answer.status, answer.code) == (502, "INTERNAL")
    assert b"secret-of-the-service" not in answer.body


async def test_an_error_of_the_bff_is_logged_and_answered_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(request: web.Request) -> web.Response:
        raise RuntimeError("secret-of-the-bff")

    route = Route(method="GET", path="/", handler=fail, needs_caller=False, csrf_exempt=True)
    client = CatalogClient("127.0.0.1:1")
    upstream = Upstream(client, service_secret="", tokens=None)
    sessions = Sessions.of_keys(HmacKeys(), HmacKeys(), lifetime=timedelta(hours=1))
    callers = Callers(sessions, SessionCookie(secure=False), upstream, dev_login=False)
    app = build_app([route], Gatekeeper(callers, CsrfGuard("")), BffMetrics(CollectorRegistry()))
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with BffClient(f"http://127.0.0.1:{runner.addresses[0][1]}") as browser:
            answer = await browser.call("GET", "/")
    finally:
        await runner.cleanup()
        await client.close()
    assert (answer.status, answer.code) == (500, "INTERNAL")
    assert b"secret-of-the-bff" not in answer.body
    assert "a request failed" in caplog.text
