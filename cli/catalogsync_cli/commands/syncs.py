"""The commands `sync start|watch|get|list|issues|cancel|resume`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from uuid import uuid4

import click
from catalogsync.catalog.v1.catalog_service_pb2 import ListSyncIssuesRequest, ListSyncsRequest, Sync, SyncIssue
from catalogsync.errors.v1.issue_reason_pb2 import IssueReason
from catalogsync_client import CatalogClient, CatalogSyncError, ShopName, has_ended

from catalogsync_cli.client import open_catalog
from catalogsync_cli.command import Options, command_options, current_options, run
from catalogsync_cli.exit_codes import ExitCode
from catalogsync_cli.formatting import (
    enum_name,
    error_reason,
    error_text,
    outcome_text,
    progress_text,
    state_name,
    status_line,
    utc_now,
)
from catalogsync_cli.output import (
    LIMIT,
    Listing,
    make_console,
    print_fields,
    print_json,
    print_notice,
    short_time_text,
    time_text,
)
from catalogsync_cli.shop import SHOP
from catalogsync_cli.watch_view import watch_sync

_MAX_PAGE_SIZE = 500
_STATES = {name.removeprefix("STATE_").lower(): number for name, number in Sync.State.items() if number}
_SYNC_COLUMNS = ("SYNC", "SHOP", "STATE", "MODE", "PROGRESS", "CREATED", "ENDED")
_MORE_SYNC_COLUMNS = ("TRIGGER", "ATTEMPTS", "ISSUES", "REASON", "CORRELATION ID")
_ISSUE_COLUMNS = ("NO", "REASON", "PRODUCT", "ITEM", "FIELD", "MESSAGE", "VALUE")


@click.group()
def sync() -> None:
    """Start, watch, list, cancel and resume syncs."""


@sync.command()
@click.argument("shop", type=SHOP)
@click.option("--full", is_flag=True, help="Read the whole catalog of the shop.")
@click.option("--incremental", is_flag=True, help="Read the changes since the last complete sync.")
@click.option("--watch", is_flag=True, help="Watch the sync until it ends; exit with a code for its outcome.")
@click.option(
    "--request-id", metavar="UUID", help="Idempotency key: repeated calls start one sync. [default: a new one]"
)
@click.option(
    "--allow-mass-delete",
    is_flag=True,
    help="Allow this sync to delete more items than the deletion guard permits.",
)
@command_options
def start(
    shop: ShopName, full: bool, incremental: bool, watch: bool, request_id: str | None, allow_mass_delete: bool
) -> ExitCode:
    """Start a sync of SHOP.

    Incremental where possible, unless --full is given. With --watch, a sync of the shop that is already active is
    watched, if it has the requested mode and --allow-mass-delete is not given.
    """
    if full and incremental:
        raise click.UsageError("--full and --incremental exclude each other")
    mode = Sync.MODE_FULL if full else Sync.MODE_INCREMENTAL if incremental else Sync.MODE_UNSPECIFIED
    start_request = _StartRequest(request_id)

    async def work(options: Options) -> ExitCode:
        async with open_catalog(options) as client:
            call = client.start_sync(
                shop, mode=mode, request_id=start_request.request_id, allow_mass_delete=allow_mass_delete
            )
            try:
                started = await start_request.send(call)
            except CatalogSyncError as error:
                active = await _active_sync(client, error) if watch and not allow_mass_delete else None
                if active is None or mode not in (Sync.MODE_UNSPECIFIED, active.mode):
                    raise
                print_notice(f"Sync {active.sync_id} of {shop} is already active; watching it.")
                started = active
            return await watch_sync(client, started, options) if watch else _print_started(started, options)

    return run(work(current_options()), current_options())


@sync.command()
@click.argument("sync_id", metavar="ID")
@click.option("--watch", is_flag=True, help="Watch the sync until it ends; exit with a code for its outcome.")
@click.option(
    "--request-id", metavar="UUID", help="Idempotency key: repeated calls start one sync. [default: a new one]"
)
@command_options
def resume(sync_id: str, watch: bool, request_id: str | None) -> ExitCode:
    """Resume the FAILED or CANCELLED sync ID as a new sync."""
    start_request = _StartRequest(request_id)

    async def work(options: Options) -> ExitCode:
        async with open_catalog(options) as client:
            started = await start_request.send(client.resume_sync(sync_id, request_id=start_request.request_id))
            return await watch_sync(client, started, options) if watch else _print_started(started, options)

    return run(work(current_options()), current_options())


async def _active_sync(client: CatalogClient, error: CatalogSyncError) -> Sync | None:
    """Return the active sync because of which a start failed; None when it failed for another reason."""
    if error.failure.reason != "SYNC_ALREADY_RUNNING":
        return None
    return await client.get_sync(error.failure.metadata["sync_id"])


class _StartRequest:
    """A call that starts a sync, with an idempotency key, so that it can be repeated after Ctrl-C."""

    def __init__(self, request_id: str | None) -> None:
        self.request_id = request_id or str(uuid4())

    async def send(self, call: Awaitable[Sync]) -> Sync:
        """Return the started sync. After Ctrl-C it is unknown whether it was started; print how to find out."""
        try:
            return await call
        except asyncio.CancelledError:
            print_notice(
                "\nThe sync may have been started; "
                f"repeat with --request-id {self.request_id} to start it only once."
            )
            raise


def _print_started(started: Sync, options: Options) -> ExitCode:
    if options.json:
        print_json(started)
    else:
        print(f"Sync {started.sync_id} of {ShopName.of(started.shop)} is {state_name(started)}.")
        if not has_ended(started):
            print_notice(f"Watch it: catalogsync{options.catalog_hint} sync watch {started.sync_id}")
    return ExitCode.OK


@sync.command()
@click.argument("sync_id", metavar="ID")
@command_options
def watch(sync_id: str) -> ExitCode:
    """Watch sync ID until it ends.

    Exits with a code for its outcome. Ctrl-C stops watching; the sync continues.
    """

    async def work(options: Options) -> ExitCode:
        async with open_catalog(options) as client:
            return await watch_sync(client, await client.get_sync(sync_id), options)

    return run(work(current_options()), current_options())


@sync.command()
@click.argument("sync_id", metavar="ID")
@command_options
def get(sync_id: str) -> ExitCode:
    """Show sync ID."""

    async def work(options: Options) -> ExitCode:
        async with open_catalog(options) as client:
            return _print_sync(await client.get_sync(sync_id), options)

    return run(work(current_options()), current_options())


@sync.command()
@click.argument("sync_id", metavar="ID")
@command_options
def cancel(sync_id: str) -> ExitCode:
    """Cancel sync ID; items that are already stored stay."""

    async def work(options: Options) -> ExitCode:
        async with open_catalog(options) as client:
            return _print_sync(await client.cancel_sync(sync_id), options)

    return run(work(current_options()), current_options())


def _print_sync(found: Sync, options: Options) -> ExitCode:
    if options.json:
        print_json(found)
    else:
        print_fields(make_console(), _sync_fields(found))
    return ExitCode.OK


@sync.command(name="list")
@click.argument("shop", type=SHOP, required=False)
@click.option(
    "--state",
    "states",
    type=click.Choice(tuple(_STATES), case_sensitive=False),
    multiple=True,
    help="List only syncs in this state; may be repeated.",
)
@click.option("--limit", type=LIMIT, default=20, show_default=True, help="Maximum number of syncs to list.")
@command_options
def list_(shop: ShopName | None, states: tuple[str, ...], limit: int) -> ExitCode:
    """List syncs of SHOP or of all shops, newest first."""
    request = ListSyncsRequest(
        shop=shop.for_catalog() if shop else None, states=[_STATES[state] for state in states]
    )
    return run(_list(request, limit, current_options()), current_options())


async def _list(request: ListSyncsRequest, limit: int, options: Options) -> ExitCode:
    async with open_catalog(options) as client:

        async def fetch(size: int, token: str) -> tuple[Sequence[Sync], str]:
            request.page_size, request.page_token = size, token
            page = await client.list_syncs(request)
            return page.syncs, page.next_page_token

        listing = Listing(
            fetch=fetch,
            max_page_size=_MAX_PAGE_SIZE,
            columns=_SYNC_COLUMNS,
            row=_sync_row,
            short_row=_short_sync_row,
            more_columns=_MORE_SYNC_COLUMNS,
            more_cells=_more_sync_cells,
        )
        return await listing.print(limit, output=options.output)


@sync.command()
@click.argument("sync_id", metavar="ID")
@click.option("--limit", type=LIMIT, default=100, show_default=True, help="Maximum number of issues to list.")
@command_options
def issues(sync_id: str, limit: int) -> ExitCode:
    """List the issues (rejected records) of sync ID."""
    return run(_issues(ListSyncIssuesRequest(sync_id=sync_id), limit, current_options()), current_options())


async def _issues(request: ListSyncIssuesRequest, limit: int, options: Options) -> ExitCode:
    async with open_catalog(options) as client:

        async def fetch(size: int, token: str) -> tuple[Sequence[SyncIssue], str]:
            request.page_size, request.page_token = size, token
            page = await client.list_issues(request)
            return page.issues, page.next_page_token

        listing = Listing(fetch=fetch, max_page_size=_MAX_PAGE_SIZE, columns=_ISSUE_COLUMNS, row=_issue_row)
        return await listing.print(limit, output=options.output)


def _sync_row(found: Sync) -> tuple[str, ...]:
    return *_sync_cells(found), time_text(found, "create_time"), time_text(found, "end_time")


def _short_sync_row(found: Sync) -> tuple[str, ...]:
    return *_sync_cells(found), short_time_text(found, "create_time"), short_time_text(found, "end_time")


def _sync_cells(found: Sync) -> tuple[str, ...]:
    return (
        found.sync_id,
        str(ShopName.of(found.shop)),
        state_name(found),
        enum_name(Sync.Mode.Name, found.mode, "MODE_"),
        progress_text(found),
    )


def _more_sync_cells(found: Sync) -> tuple[str, ...]:
    return (
        enum_name(Sync.Trigger.Name, found.trigger, "TRIGGER_"),
        f"{found.attempt_count:,}",
        f"{found.progress.issue_count:,}",
        error_reason(found) or "-",
        found.correlation_id,
    )


def _issue_row(issue: SyncIssue) -> tuple[str, ...]:
    return (
        str(issue.number),
        enum_name(IssueReason.Name, issue.reason, "ISSUE_REASON_"),
        f"{issue.product_id} (rejected)" if issue.product_rejected else issue.product_id,
        issue.item_id,
        issue.field,
        issue.message,
        issue.sample,
    )


def _sync_fields(found: Sync) -> list[tuple[str, str]]:
    state = outcome_text(found) if has_ended(found) else status_line(found, utc_now())
    return [
        ("Sync", found.sync_id),
        ("Shop", str(ShopName.of(found.shop))),
        ("State", state),
        ("Mode", enum_name(Sync.Mode.Name, found.mode, "MODE_")),
        ("Trigger", enum_name(Sync.Trigger.Name, found.trigger, "TRIGGER_")),
        ("Resumes", found.parent_sync_id),
        ("Error", error_text(found) if found.HasField("error") else ""),
        *(("Note", note) for note in found.notes),
        ("Changes since", time_text(found, "changes_since_time")),
        ("Attempts", f"{found.attempt_count:,}"),
        ("Read strategy", found.strategy),
        ("API version", found.served_api_version),
        ("Created", time_text(found, "create_time")),
        ("Started", time_text(found, "start_time")),
        ("Ended", time_text(found, "end_time")),
        ("Correlation id", found.correlation_id),
    ]
