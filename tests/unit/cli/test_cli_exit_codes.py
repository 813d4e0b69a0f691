"""Failed commands: the exit code, one line or one JSON document, and the next step."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import grpc
import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Shop, Sync
from catalogsync.errors.v1.error_reason_pb2 import ErrorReason
from catalogsync_cli.errors import error_line
from catalogsync_cli.exit_codes import HELP, ExitCode, exit_code_of_failure
from catalogsync_common.failure import InvalidRequest
from catalogsync_common.status import STATUS_CODES, ReceivedFailure

from tests.fakes.catalog_service import CatalogServer, FailureWithReason, FakeCatalog
from tests.unit.cli.conftest import TOKEN, CommandLine

NAME = "shopify:demo.myshopify.com"


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (InvalidRequest.of("shop.platform", "one of shopify, woocommerce"), 2, "INVALID_REQUEST"),
        (FailureWithReason("SHOP_NOT_FOUND"), 3, "SHOP_NOT_FOUND"),
        (FailureWithReason("SYNC_ALREADY_RUNNING", metadata={"sync_id": "abc"}), 5, "SYNC_ALREADY_RUNNING"),
        (FailureWithReason("UNAUTHENTICATED"), 6, "UNAUTHENTICATED"),
        (FailureWithReason("PERMISSION_DENIED"), 6, "PERMISSION_DENIED"),
        (FailureWithReason("TOO_MANY_WATCHERS", retry_after=timedelta(seconds=3)), 4, "TOO_MANY_WATCHERS"),
        (FailureWithReason("NOT_IMPLEMENTED"), 70, "NOT_IMPLEMENTED"),
        (RuntimeError("boom"), 70, "INTERNAL"),
    ],
)
async def test_a_failed_call_has_an_exit_code_reason_and_message(
    catalog: FakeCatalog, run: CommandLine, error: BaseException, code: int, reason: str
) -> None:
    catalog.errors["GetStatus"] = [error, error]
    result = await run("status", NAME)
    assert (result.code, result.out) == (code, "")
    assert f"[{reason}]" in result.err
    assert len(result.err.splitlines()) == 1
    as_json = await run("status", NAME, "--json")
    assert (as_json.code, as_json.out) == (code, "")
    assert (as_json.error["reason"], as_json.error["exitCode"]) == (reason, code)


async def test_an_unavailable_database_suggests_to_try_again_later(catalog: FakeCatalog, run: CommandLine) -> None:
    catalog.errors["GetStatus"] = [FailureWithReason("STORAGE_UNAVAILABLE", retry_after=timedelta(seconds=2))] * 9
    result = await run("status", NAME, "--json")
    assert result.code == 4
    assert result.error["retryAfterSeconds"] == 2
    assert result.error["nextStep"] == "try again in 2 s"


async def test_starting_a_second_sync_of_a_shop_names_the_running_one(
    catalog: FakeCatalog, run: CommandLine, shop: Shop
) -> None:
    running = catalog.add_sync(shop)
    result = await run("sync", "start", NAME)
    assert result.code == 5
    assert f"sync watch {running.sync_id}" in result.err
    as_json = await run("sync", "start", NAME, "--json")
    assert as_json.error["metadata"]["sync_id"] == running.sync_id


async def test_an_unreachable_address_is_named_in_the_error(server: CatalogServer, run: CommandLine) -> None:
    await server.kill()
    result = await run("status", NAME)
    assert result.code == 4
    assert f"catalog_svc at {server.address} does not answer" in result.err


async def test_a_slow_call_fails_after_the_timeout(catalog: FakeCatalog, run: CommandLine, shop: Shop) -> None:
    async def never_respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    listener = await asyncio.start_server(never_respond, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    result = await run("status", NAME, "--timeout", "0.5", "--catalog", f"127.0.0.1:{port}")
    listener.close()
    await listener.wait_closed()
    assert result.code == 4
    assert "within 0.5 s" in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "no-shop"),
        ("status", "shopify:"),
        ("status", "shopify:https://demo.myshopify.com"),
        ("sync", "start", NAME, "--full", "--incremental"),
        ("sync", "list", "--state", "asleep"),
        ("items", NAME, "--limit", "0"),
        ("items", "follow", NAME, "--after", "1", "--position-file", "p"),
        ("nonsense",),
    ],
)
async def test_an_invalid_command_line_sends_no_request(
    catalog: FakeCatalog, run: CommandLine, arguments: tuple[str, ...]
) -> None:
    result = await run(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "Error: " in result.err
    assert (await run(*arguments, "--json")).error["exitCode"] == 2
    assert catalog.requests == []


async def test_an_option_after_the_command_overrides_the_environment(
    catalog: FakeCatalog, run: CommandLine, shop: Shop
) -> None:
    catalog.items[NAME] = []
    assert (await run("status", NAME, CATALOGSYNC_CATALOG="127.0.0.1:1")).code == 4
    address = ("--catalog", run.catalog)
    assert (await run("status", NAME, *address, CATALOGSYNC_CATALOG="127.0.0.1:1")).code == 0
    assert (await run(*address, "status", NAME, CATALOGSYNC_CATALOG="127.0.0.1:1")).code == 0


async def test_the_token_option_is_sent_and_an_invalid_token_is_not_printed(
    catalog: FakeCatalog, run: CommandLine
) -> None:
    catalog.items[NAME] = []
    assert (await run("status", NAME, "--token", "another")).code == 0
    assert catalog.requests[-1][2]["authorization"] == "Bearer another"
    broken = await run("status", NAME, CATALOGSYNC_TOKEN=f"{TOKEN}\nx: y")
    assert broken.code == 2
    assert "cannot be sent" in broken.err


async def test_without_a_token_no_authorization_is_sent(catalog: FakeCatalog, run: CommandLine) -> None:
    catalog.items[NAME] = []
    assert (await run("status", NAME, CATALOGSYNC_TOKEN="")).code == 0
    assert "authorization" not in catalog.requests[-1][2]


async def test_a_closed_output_pipe_causes_no_traceback(
    catalog: FakeCatalog, run: CommandLine, shop: Shop
) -> None:
    for _ in range(400):
        catalog.add_sync(shop, state=Sync.STATE_SUCCEEDED)
    process = await run.start("sync", "list", "--json", "--limit", "400")
    assert process.stdout is not None
    await process.stdout.readline()
    process.stdout._transport.close()  # type: ignore[attr-defined]
    result = await run.wait(process)
    assert (result.code, result.err) == (141, "")


def test_every_error_reason_of_the_contract_maps_to_the_exit_code_of_its_status_code() -> None:
    expected = {
        grpc.StatusCode.INVALID_ARGUMENT: {2},
        grpc.StatusCode.NOT_FOUND: {3},
        grpc.StatusCode.UNAVAILABLE: {4},
        grpc.StatusCode.RESOURCE_EXHAUSTED: {4},
        grpc.StatusCode.ABORTED: {5},
        grpc.StatusCode.ALREADY_EXISTS: {5},
        grpc.StatusCode.UNAUTHENTICATED: {6},
        grpc.StatusCode.PERMISSION_DENIED: {6},
        grpc.StatusCode.FAILED_PRECONDITION: {1, 5, 70},
        grpc.StatusCode.OUT_OF_RANGE: {2},
        grpc.StatusCode.INTERNAL: {70},
        grpc.StatusCode.UNIMPLEMENTED: {70},
    }
    for name in ErrorReason.keys()[1:]:
        reason = name.removeprefix("ERROR_REASON_")
        code = STATUS_CODES[reason]
        assert exit_code_of_failure(ReceivedFailure(code=code, message="", reason=reason)) in expected[code], (
            reason
        )


def test_the_help_explains_every_exit_code() -> None:
    listed = {int(line.split()[0]) for line in HELP.splitlines() if line.strip()[:1].isdigit()}
    assert listed == {int(code) for code in ExitCode}


def test_an_error_is_one_line_whatever_its_message_contains() -> None:
    failure = ReceivedFailure(code=grpc.StatusCode.INTERNAL, message="a\nb\x1b[31m", reason="INTERNAL")
    assert len(error_line(failure).splitlines()) == 1
    assert "\x1b" not in error_line(failure)
