"""`catalogsync sync ...` as a process, against a catalog on a real socket."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Progress, RecordCounts, Shop, Sync, SyncIssue, Waiting
from catalogsync.errors.v1 import issue_reason_pb2
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from tests.fakes.catalog_service import CatalogServer, FakeCatalog
from tests.unit.cli.conftest import TOKEN, CommandLine, eventually
from tests.waiting import turns

NAME = "shopify:demo.myshopify.com"


def work_to(state: Sync.State.ValueType, **last: Any) -> Any:
    """The work of an engine that stores 40 items in four steps and then ends."""

    async def work(catalog: FakeCatalog, sync_id: str) -> None:
        for done in (10, 20, 30, 40):
            items = RecordCounts(seen_count=done, created_count=done)
            progress = Progress(items=items, products=items, estimated_item_count=40)
            await catalog.change(sync_id, state=Sync.STATE_RUNNING, progress=progress)
            await turns(20)
        await catalog.change(sync_id, state=state, **last)

    return work


async def test_start_orders_a_sync_with_an_id_that_makes_it_repeatable(
    catalog: FakeCatalog, run: CommandLine
) -> None:
    ran = await run("sync", "start", NAME, "--full", "--allow-mass-delete")
    assert ran.code == 0
    (sync,) = catalog.syncs.values()
    assert sync.sync_id in ran.out
    _, request, metadata = catalog.requests[0]
    assert request.mode == Sync.MODE_FULL
    assert request.allow_mass_delete
    assert len(request.request_id) == 36
    assert metadata["authorization"] == f"Bearer {TOKEN}"
    assert metadata["x-correlation-id"]


async def test_start_with_the_same_request_id_is_the_same_sync(catalog: FakeCatalog, run: CommandLine) -> None:
    order = (
        "sync",
        "start",
        NAME,
        "--incremental",
        "--request-id",
        "b3b2f7f6-3f27-4a86-8a37-2a3b4b5c6d7e",
        "--json",
    )
    first, second = await run(*order), await run(*order)
    assert first.documents[0]["syncId"] == second.documents[0]["syncId"]
    assert first.documents[0]["mode"] == "MODE_INCREMENTAL"
    assert len(catalog.syncs) == 1


@pytest.mark.parametrize(
    ("state", "code"),
    [(Sync.STATE_SUCCEEDED, 0), (Sync.STATE_FAILED, 1), (Sync.STATE_CANCELLED, 7)],
)
async def test_a_watched_sync_tells_its_outcome_by_the_exit_code(
    catalog: FakeCatalog, run: CommandLine, state: Sync.State.ValueType, code: int
) -> None:
    catalog.work = work_to(state)
    ran = await run("sync", "start", NAME, "--watch")
    assert ran.code == code
    assert ran.out.splitlines()[-1].startswith(f"{NAME} {Sync.State.Name(state).removeprefix('STATE_')}: 40 items")


async def test_start_with_watch_follows_the_sync_that_is_active_already(
    catalog: FakeCatalog, run: CommandLine, shop: Shop
) -> None:
    sync = catalog.add_sync(shop, state=Sync.STATE_RUNNING)
    process = await run.start("sync", "start", NAME, "--watch")
    await eventually(lambda: catalog.watcher_count == 1)
    await catalog.change(sync.sync_id, state=Sync.STATE_SUCCEEDED)
    ran = await run.end(process)
    assert (ran.code, len(catalog.syncs)) == (0, 1)
    assert f"Sync {sync.sync_id} of {NAME} is active already" in ran.err


@pytest.mark.parametrize("asked", [("--incremental",), ("--allow-mass-delete",)])
async def test_start_with_watch_does_not_follow_a_sync_that_does_something_else(
    catalog: FakeCatalog, run: CommandLine, shop: Shop, asked: tuple[str, ...]
) -> None:
    catalog.add_sync(shop, state=Sync.STATE_RUNNING, mode=Sync.MODE_FULL)
    ran = await run("sync", "start", NAME, "--watch", *asked, "--json")
    assert (ran.code, ran.error["reason"]) == (5, "SYNC_ALREADY_RUNNING")


async def test_why_a_sync_failed_is_said_with_its_reason(catalog: FakeCatalog, run: CommandLine) -> None:
    error = Status(code=9, message="The shop refuses the credentials: connect it again.")
    error.details.add().Pack(ErrorInfo(reason="SOURCE_UNAUTHORIZED", domain="catalogsync"))
    catalog.work = work_to(Sync.STATE_FAILED, error=error)
    ran = await run("sync", "start", NAME, "--watch")
    assert "connect it again. (SOURCE_UNAUTHORIZED)" in ran.out
    shown = await run("sync", "watch", next(iter(catalog.syncs)), "--json")
    assert shown.documents[-1]["error"]["details"][0]["reason"] == "SOURCE_UNAUTHORIZED"


async def test_what_to_do_about_a_failed_sync_is_told_with_the_shop_filled_in(
    catalog: FakeCatalog, run: CommandLine
) -> None:
    error = Status(code=9, message="500 of 600 items would be deleted.")
    error.details.add().Pack(ErrorInfo(reason="MASS_DELETE_BLOCKED", domain="catalogsync"))
    catalog.work = work_to(Sync.STATE_FAILED, error=error)
    ran = await run("sync", "start", NAME, "--watch")
    assert ran.err.rstrip().endswith(f"sync start {NAME} --full --allow-mass-delete")


async def test_json_of_a_watched_sync_is_a_snapshot_a_line_up_to_the_terminal_one(
    catalog: FakeCatalog, run: CommandLine
) -> None:
    catalog.work = work_to(Sync.STATE_SUCCEEDED)
    ran = await run("--json", "sync", "start", NAME, "--watch")
    revisions = [int(document["revision"]) for document in ran.documents]
    assert revisions == sorted(set(revisions))
    assert ran.documents[-1]["state"] == "STATE_SUCCEEDED"
    assert ran.documents[-1]["progress"]["items"]["updatedCount"] == "0"


async def test_a_watch_outlives_the_death_of_its_server(
    server: CatalogServer, run: CommandLine, shop: Shop
) -> None:
    sync = server.fake.add_sync(shop)
    process = await run.start("sync", "watch", sync.sync_id)
    await eventually(lambda: server.fake.watcher_count == 1)
    await server.die()
    await server.fake.change(sync.sync_id, state=Sync.STATE_SUCCEEDED)
    await server.start()
    ran = await run.end(process)
    assert ran.code == 0
    assert "connection broke" in ran.out
    assert f"{NAME} SUCCEEDED" in ran.out


async def test_watching_says_what_the_sync_waits_for(server: CatalogServer, run: CommandLine, shop: Shop) -> None:
    waiting = Waiting(reason=Waiting.REASON_PLATFORM_JOB, done_count=812, total_count=1456)
    sync = server.fake.add_sync(shop, state=Sync.STATE_RUNNING, waiting=waiting)
    process = await run.start("sync", "watch", sync.sync_id)
    await eventually(lambda: server.fake.watcher_count == 1)
    await server.fake.change(sync.sync_id, state=Sync.STATE_SUCCEEDED, waiting=None)
    ran = await run.end(process)
    assert "waiting: bulk job 812 of 1,456" in ran.out


@pytest.mark.parametrize("json", [(), ("--json",)])
async def test_ctrl_c_stops_the_watching_only_and_says_how_to_watch_again(
    server: CatalogServer, run: CommandLine, shop: Shop, json: tuple[str, ...]
) -> None:
    sync = server.fake.add_sync(shop, state=Sync.STATE_RUNNING)
    process = await run.start("sync", "watch", sync.sync_id, *json)
    await eventually(lambda: server.fake.watcher_count == 1)
    ran = await run.end(process, with_signal=signal.SIGINT)
    assert ran.code == 130
    assert f"sync {sync.sync_id} goes on" in ran.err
    assert f"catalogsync --catalog {server.address} sync watch {sync.sync_id}" in ran.err
    assert "Traceback" not in ran.err
    assert server.fake.syncs[sync.sync_id].state == Sync.STATE_RUNNING
    await eventually(lambda: server.fake.watcher_count == 0)


async def test_a_sync_that_has_ended_is_told_once_and_by_code(
    catalog: FakeCatalog, run: CommandLine, shop: Shop
) -> None:
    sync = catalog.add_sync(shop, state=Sync.STATE_CANCELLED)
    ran = await run("sync", "watch", sync.sync_id)
    assert ran.code == 7
    assert ran.out.count("CANCELLED") == 1


async def test_get_shows_one_sync(catalog: FakeCatalog, run: CommandLine, shop: Shop) -> None:
    sync = catalog.add_sync(shop)
    ran = await run("sync", "get", sync.sync_id)
    assert ran.code == 0
    assert sync.sync_id in ran.out
    assert "PENDING" in ran.out
    assert (await run("sync", "get", sync.sync_id, "--json")).documents[0]["correlationId"] == "c0ffee"


async def test_get_and_watch_show_what_the_sync_could_not_see(
    catalog: FakeCatalog, run: CommandLine, shop: Shop
) -> None:
    note = "Prices of variations that changed without a date are seen by full syncs only."
    sync = catalog.add_sync(shop, state=Sync.STATE_SUCCEEDED, notes=[note])
    assert f"Note: {note}" in (await run("sync", "watch", sync.sync_id)).out
    assert note in (await run("sync", "get", sync.sync_id)).out


async def test_list_is_newest_first_of_the_shop_and_state_that_were_asked(
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


async def test_issues_follow_the_pages_up_to_the_limit(catalog: FakeCatalog, run: CommandLine, shop: Shop) -> None:
    sync = catalog.add_sync(shop)
    reason = issue_reason_pb2.IssueReason.values()[1]
    catalog.issues[sync.sync_id] = [
        SyncIssue(number=number, reason=reason, field="price", message="not a number") for number in range(1, 1203)
    ]
    ran = await run("sync", "issues", sync.sync_id, "--limit", "1200", "--json")
    assert [document["number"] for document in ran.documents] == [str(number) for number in range(1, 1201)]
    assert "more than 1,200" in ran.err
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


async def test_resume_orders_a_new_sync_that_continues(catalog: FakeCatalog, run: CommandLine, shop: Shop) -> None:
    sync = catalog.add_sync(shop, state=Sync.STATE_FAILED)
    ran = await run("sync", "resume", sync.sync_id, "--json")
    assert ran.code == 0
    assert ran.documents[0]["parentSyncId"] == sync.sync_id
    conflict = await run("sync", "resume", sync.sync_id)
    assert conflict.code == 5
