"""`catalogsync sync ...` as a process, against a fake catalog on a real socket."""

from __future__ import annotations

import signal
from datetime import timedelta
from typing import Any

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Progress, RecordCounts, Shop, Sync, SyncIssue, Waiting
from catalogsync.errors.v1 import issue_reason_pb2
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from tests.fakes.catalog_service import CatalogServer, FailureWithReason, FakeCatalog
from tests.unit.cli.conftest import TOKEN, CommandLine, eventually
from tests.waiting import let_tasks_run

NAME = "shopify:demo.myshopify.com"


def run_to(state: Sync.State.ValueType, **last: Any) -> Any:
    """Return a sync execution that stores 40 items in four steps and then ends in `state`."""

    async def execute(catalog: FakeCatalog, sync_id: str) -> None:
        for done in (10, 20, 30, 40):
            items = RecordCounts(seen_count=done, created_count=done)
            progress = Progress(items=items, products=items, estimated_item_count=40)
            await catalog.change(sync_id, state=Sync.STATE_RUNNING, progress=progress)
            await let_tasks_run(20)
        await catalog.change(sync_id, state=state, **last)

    return execute


async def test_start_sends_a_request_id(catalog: FakeCatalog, run: CommandLine) -> None:
    result = await run("sync", "start", NAME, "--full", "--allow-mass-delete")
    assert result.code == 0
    (sync,) = catalog.syncs.values()
    assert sync.sync_id in result.out
    _, request, metadata = catalog.requests[0]
    assert request.mode == Sync.MODE_FULL
    assert request.allow_mass_delete
    assert len(request.request_id) == 36
    assert metadata["authorization"] == f"Bearer {TOKEN}"
    assert metadata["x-correlation-id"]


async def test_start_with_the_same_request_id_returns_the_same_sync(
    catalog: FakeCatalog, run: CommandLine
) -> None:
    command = (
        "sync",
        "start",
        NAME,
        "--incremental",
        "--request-id",
        "b3b2f7f6-3f27-4a86-8a37-2a3b4b5c6d7e",
        "--json",
    )
    first, second = await run(*command), await run(*command)
    assert first.documents[0]["syncId"] == second.documents[0]["syncId"]
    assert first.documents[0]["mode"] == "MODE_INCREMENTAL"
    assert len(catalog.syncs) == 1


@pytest.mark.parametrize("command", ["start", "resume"])
async def test_a_start_is_repeated_with_the_same_request_id_while_the_service_is_unavailable(
    catalog: FakeCatalog, run: CommandLine, shop: Shop, command: str
) -> None:
    """gRPC does not repeat it: its service config cannot see whether a call has a request_id."""
    argument = NAME if command == "start" else catalog.add_sync(shop, state=Sync.STATE_FAILED).sync_id
    method = "StartSync" if command == "start" else "ResumeSync"
    unavailable = FailureWithReason("STORAGE_UNAVAILABLE", retry_after=timedelta(milliseconds=10))
    catalog.errors[method] = [unavailable, unavailable]
    assert (await run("sync", command, argument)).code == 0
    sent = [request.request_id for name, request, _ in catalog.requests if name == method]
    assert (len(sent), len(set(sent))) == (3, 1)


async def test_a_start_gives_up_after_four_attempts(catalog: FakeCatalog, run: CommandLine) -> None:
    unavailable = FailureWithReason("STORAGE_UNAVAILABLE", retry_after=timedelta(milliseconds=10))
    catalog.errors["StartSync"] = [unavailable] * 9
    assert (await run("sync", "start", NAME)).code == 4
    assert len(catalog.requests) == 4


@pytest.mark.parametrize(
    ("state", "code"),
    [(Sync.STATE_SUCCEEDED, 0), (Sync.STATE_FAILED, 1), (Sync.STATE_CANCELLED, 7)],
)
async def test_the_exit_code_of_a_watched_sync_is_its_outcome(
    catalog: FakeCatalog, run: CommandLine, state: Sync.State.ValueType, code: int
) -> None:
    catalog.execute = run_to(state)
    result = await run("sync", "start", NAME, "--watch")
    assert result.code == code
    assert result.out.splitlines()[-1].startswith(
        f"{NAME} {Sync.State.Name(state).removeprefix('STATE_')}: 40 items"
    )


async def test_start_with_watch_watches_a_sync_that_is_already_active(
    catalog: FakeCatalog, run: CommandLine, shop: Shop
) -> None:
    sync = catalog.add_sync(shop, state=Sync.STATE_RUNNING)
    process = await run.start("sync", "start", NAME, "--watch")
    await eventually(lambda: catalog.watcher_count == 1)
    await catalog.change(sync.sync_id, state=Sync.STATE_SUCCEEDED)
    result = await run.wait(process)
    assert (result.code, len(catalog.syncs)) == (0, 1)
    assert f"Sync {sync.sync_id} of {NAME} is already active" in result.err


@pytest.mark.parametrize("options", [("--incremental",), ("--allow-mass-delete",)])
async def test_start_with_watch_does_not_watch_an_active_sync_with_other_parameters(
    catalog: FakeCatalog, run: CommandLine, shop: Shop, options: tuple[str, ...]
) -> None:
    catalog.add_sync(shop, state=Sync.STATE_RUNNING, mode=Sync.MODE_FULL)
    result = await run("sync", "start", NAME, "--watch", *options, "--json")
    assert (result.code, result.error["reason"]) == (5, "SYNC_ALREADY_RUNNING")


async def test_a_failed_sync_shows_its_message_and_reason(catalog: FakeCatalog, run: CommandLine) -> None:
    error = Status(code=9, message="SOURCE_UNAUTHORIZED: The shop refuses the credentials: connect it again.")
    error.details.add().Pack(ErrorInfo(reason="SOURCE_UNAUTHORIZED", domain="catalogsync"))
    catalog.execute = run_to(Sync.STATE_FAILED, error=error)
    result = await run("sync", "start", NAME, "--watch")
    assert ". The shop refuses the credentials: connect it again. (SOURCE_UNAUTHORIZED)" in result.out
    shown = await run("sync", "watch", next(iter(catalog.syncs)), "--json")
    assert shown.documents[-1]["error"]["details"][0]["reason"] == "SOURCE_UNAUTHORIZED"


async def test_the_next_step_for_a_failed_sync_contains_the_shop(catalog: FakeCatalog, run: CommandLine) -> None:
    error = Status(code=9, message="MASS_DELETE_BLOCKED: 500 of 600 items would be deleted.")
    error.details.add().Pack(ErrorInfo(reason="MASS_DELETE_BLOCKED", domain="catalogsync"))
    catalog.execute = run_to(Sync.STATE_FAILED, error=error)
    result = await run("sync", "start", NAME, "--watch")
    assert result.err.rstrip().endswith(f"sync start {NAME} --full --allow-mass-delete")


async def test_the_next_step_of_a_deletion_that_the_next_full_sync_decides_about_is_to_wait(
    catalog: FakeCatalog, run: CommandLine
) -> None:
    error = Status(code=9, message="MASS_DELETE_BLOCKED: 5 of 5 items would be deleted.")
    info = ErrorInfo(reason="MASS_DELETE_BLOCKED", domain="catalogsync", metadata={"decided_by": "FULL_SYNC"})
    error.details.add().Pack(info)
    catalog.execute = run_to(Sync.STATE_FAILED, error=error)
    result = await run("sync", "start", NAME, "--watch")
    assert "wait for the next full sync" in result.err
    assert result.err.rstrip().endswith(f"sync start {NAME} --full --allow-mass-delete")


async def test_json_of_a_watched_sync_is_one_snapshot_per_line_up_to_the_terminal_one(
    catalog: FakeCatalog, run: CommandLine
) -> None:
    catalog.execute = run_to(Sync.STATE_SUCCEEDED)
    result = await run("--json", "sync", "start", NAME, "--watch")
    revisions = [int(document["revision"]) for document in result.documents]
    assert revisions == sorted(set(revisions))
    assert result.documents[-1]["state"] == "STATE_SUCCEEDED"
    assert result.documents[-1]["progress"]["items"]["updatedCount"] == "0"


async def test_a_watch_survives_a_killed_server(server: CatalogServer, run: CommandLine, shop: Shop) -> None:
    sync = server.fake.add_sync(shop)
    process = await run.start("sync", "watch", sync.sync_id)
    await eventually(lambda: server.fake.watcher_count == 1)
    await server.kill()
    await server.fake.change(sync.sync_id, state=Sync.STATE_SUCCEEDED)
    await server.start()
    result = await run.wait(process)
    assert result.code == 0
    assert "connection lost" in result.out
    assert f"{NAME} SUCCEEDED" in result.out


async def test_watch_shows_what_the_sync_waits_for(server: CatalogServer, run: CommandLine, shop: Shop) -> None:
    waiting = Waiting(reason=Waiting.REASON_PLATFORM_JOB, done_count=812, total_count=1456)
    sync = server.fake.add_sync(shop, state=Sync.STATE_RUNNING, waiting=waiting)
    process = await run.start("sync", "watch", sync.sync_id)
    await eventually(lambda: server.fake.watcher_count == 1)
    await server.fake.change(sync.sync_id, state=Sync.STATE_SUCCEEDED, waiting=None)
    result = await run.wait(process)
    assert "waiting: bulk job 812 of 1,456" in result.out


@pytest.mark.parametrize("json", [(), ("--json",)])
async def test_ctrl_c_stops_watching_only_and_suggests_how_to_watch_again(
    server: CatalogServer, run: CommandLine, shop: Shop, json: tuple[str, ...]
) -> None:
    sync = server.fake.add_sync(shop, state=Sync.STATE_RUNNING)
    process = await run.start("sync", "watch", sync.sync_id, *json)
    await eventually(lambda: server.fake.watcher_count == 1)
    result = await run.wait(process, with_signal=signal.SIGINT)
    assert result.code == 130
    assert f"sync {sync.sync_id} continues" in result.err
    assert f"catalogsync --catalog {server.address} sync watch {sync.sync_id}" in result.err
    assert "Traceback" not in result.err
    assert server.fake.syncs[sync.sync_id].state == Sync.STATE_RUNNING
    await eventually(lambda: server.fake.watcher_count == 0)


async def test_watching_an_ended_sync_prints_its_summary_once(
    catalog: FakeCatalog, run: CommandLine, shop: Shop
) -> None:
    sync = catalog.add_sync(shop, state=Sync.STATE_CANCELLED)
    result = await run("sync", "watch", sync.sync_id)
    assert result.code == 7
    assert result.out.count("CANCELLED") == 1


async def test_get_shows_one_sync(catalog: FakeCatalog, run: CommandLine, shop: Shop) -> None:
    sync = catalog.add_sync(shop)
    result = await run("sync", "get", sync.sync_id)
    assert result.code == 0
    assert sync.sync_id in result.out
    assert "PENDING" in result.out
    assert (await run("sync", "get", sync.sync_id, "--json")).documents[0]["correlationId"] == "c0ffee"


async def test_get_and_watch_show_the_notes_of_a_sync(catalog: FakeCatalog, run: CommandLine, shop: Shop) -> None:
    note = "Prices of variations that changed without a date are seen by full syncs only."
    sync = catalog.add_sync(shop, state=Sync.STATE_SUCCEEDED, notes=[note])
    assert f"Note: {note}" in (await run("sync", "watch", sync.sync_id)).out
    assert note in (await run("sync", "get", sync.sync_id)).out


async def test_list_is_newest_first_and_filtered_by_shop_and_state(
    catalog: FakeCatalog, run: CommandLine, shop: Shop
) -> None:
    old = catalog.add_sync(shop, state=Sync.STATE_FAILED)
    new = catalog.add_sync(shop, state=Sync.STATE_SUCCEEDED)
    other = catalog.add_sync(Shop(platform="woocommerce", domain="store.example"), state=Sync.STATE_FAILED)

    async def ids(*arguments: str) -> list[str]:
        return [document["syncId"] for document in (await run("sync", "list", *arguments, "--json")).documents]

    assert await ids() == [other.sync_id, new.sync_id, old.sync_id]
    assert await ids(NAME) == [new.sync_id, old.sync_id]
    assert await ids("--state", "failed") == [other.sync_id, old.sync_id]
    assert new.sync_id in (await run("sync", "list", NAME)).out


async def test_issues_reads_all_pages_up_to_the_limit(catalog: FakeCatalog, run: CommandLine, shop: Shop) -> None:
    sync = catalog.add_sync(shop)
    reason = issue_reason_pb2.IssueReason.values()[1]
    catalog.issues[sync.sync_id] = [
        SyncIssue(number=number, reason=reason, field="price", message="not a number") for number in range(1, 1203)
    ]
    result = await run("sync", "issues", sync.sync_id, "--limit", "1200", "--json")
    assert [document["number"] for document in result.documents] == [str(number) for number in range(1, 1201)]
    assert "more than 1,200" in result.err
    assert "not a number" in (await run("sync", "issues", sync.sync_id, "--limit", "1")).out


async def test_cancel_ends_a_running_sync_and_conflicts_with_an_ended_one(
    catalog: FakeCatalog, run: CommandLine, shop: Shop
) -> None:
    sync = catalog.add_sync(shop)
    assert (await run("sync", "cancel", sync.sync_id)).code == 0
    assert catalog.syncs[sync.sync_id].state == Sync.STATE_CANCELLED
    again = await run("sync", "cancel", sync.sync_id, "--json")
    assert (again.code, again.error["reason"]) == (5, "SYNC_NOT_CANCELLABLE")
    assert sync.sync_id in again.error["nextStep"]


async def test_resume_starts_a_new_sync_that_resumes_the_old_one(
    catalog: FakeCatalog, run: CommandLine, shop: Shop
) -> None:
    sync = catalog.add_sync(shop, state=Sync.STATE_FAILED)
    result = await run("sync", "resume", sync.sync_id, "--json")
    assert result.code == 0
    assert result.documents[0]["parentSyncId"] == sync.sync_id
    conflict = await run("sync", "resume", sync.sync_id)
    assert conflict.code == 5
