"""What is done with syncs: start, watch, look at, end, continue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from uuid import uuid4

import click
from catalogsync.catalog.v1.catalog_service_pb2 import ListSyncIssuesRequest, ListSyncsRequest, Sync, SyncIssue
from catalogsync.errors.v1.issue_reason_pb2 import IssueReason

from catalogsync_cli.client import CatalogClient, open_catalog
from catalogsync_cli.command import Options, current, options_of_command, run
from catalogsync_cli.errors import CallFailed
from catalogsync_cli.exit_codes import Exit
from catalogsync_cli.formatting import (
    enum_name,
    error_text,
    extent_text,
    has_ended,
    local_now,
    outcome_text,
    plain_text,
    state_name,
)
from catalogsync_cli.output import (
    LIMIT,
    Listing,
    make_console,
    print_facts,
    print_json,
    say,
    short_time_text,
    time_text,
)
from catalogsync_cli.shop import SHOP, ShopName
from catalogsync_cli.watch_view import follow

LARGEST_PAGE = 500
STATES = {name.removeprefix("STATE_").lower(): number for name, number in Sync.State.items() if number}
SYNC_COLUMNS = ("SYNC", "SHOP", "STATE", "MODE", "DONE", "ORDERED", "ENDED")
ISSUE_COLUMNS = ("NO", "REASON", "PRODUCT", "ITEM", "FIELD", "MESSAGE", "VALUE")


@click.group()
def sync() -> None:
    """Start, watch, list, cancel and resume syncs."""


@sync.command()
@click.argument("shop", type=SHOP)
@click.option("--full", is_flag=True, help="Read everything.")
@click.option("--incremental", is_flag=True, help="Read what changed since the last complete sync.")
@click.option("--watch", is_flag=True, help="Follow it to its end, and tell its outcome by the exit code.")
@click.option("--request-id", metavar="UUID", help="Makes the call repeatable. [default: a new one]")
@click.option("--allow-mass-delete", is_flag=True, help="Let this sync delete more than the fuse allows.")
@options_of_command
def start(
    shop: ShopName, full: bool, incremental: bool, watch: bool, request_id: str | None, allow_mass_delete: bool
) -> Exit:
    """Start a sync of SHOP.

    Incremental where possible unless told otherwise. With --watch, a sync of the shop that is active already is
    followed if it does what was asked for.
    """
    if full and incremental:
        raise click.UsageError("--full and --incremental exclude each other")
    mode = Sync.MODE_FULL if full else Sync.MODE_INCREMENTAL if incremental else Sync.MODE_UNSPECIFIED
    order = _Order(request_id)

    async def work(options: Options) -> Exit:
        async with open_catalog(options) as client:
            call = client.start_sync(
                shop, mode=mode, request_id=order.request_id, allow_mass_delete=allow_mass_delete
            )
            try:
                ordered = await order.place(call)
            except CallFailed as error:
                active = await _active_sync(client, error) if watch and not allow_mass_delete else None
                if active is None or mode not in (Sync.MODE_UNSPECIFIED, active.mode):
                    raise
                say(f"Sync {active.sync_id} of {shop} is active already; watching it.")
                ordered = active
            return await follow(client, ordered, options) if watch else _tell_order(ordered, options)

    return run(work(current()), current())


@sync.command()
@click.argument("sync_id", metavar="ID")
@click.option("--watch", is_flag=True, help="Follow it to its end, and tell its outcome by the exit code.")
@click.option("--request-id", metavar="UUID", help="Makes the call repeatable. [default: a new one]")
@options_of_command
def resume(sync_id: str, watch: bool, request_id: str | None) -> Exit:
    """Continue the FAILED or CANCELLED sync ID as a new sync."""
    order = _Order(request_id)

    async def work(options: Options) -> Exit:
        async with open_catalog(options) as client:
            ordered = await order.place(client.resume_sync(sync_id, request_id=order.request_id))
            return await follow(client, ordered, options) if watch else _tell_order(ordered, options)

    return run(work(current()), current())


async def _active_sync(client: CatalogClient, error: CallFailed) -> Sync | None:
    """The sync that a start was refused for; None when it was refused for another reason."""
    if error.failure.reason != "SYNC_ALREADY_RUNNING":
        return None
    return await client.get_sync(error.failure.metadata["sync_id"])


class _Order:
    """An order that may be repeated when its answer was not waited for."""

    def __init__(self, request_id: str | None) -> None:
        self.request_id = request_id or str(uuid4())

    async def place(self, call: Awaitable[Sync]) -> Sync:
        """The ordered sync. Ctrl-C leaves open whether it was ordered, and says how to find out."""
        try:
            return await call
        except asyncio.CancelledError:
            say(f"\nIt may have been ordered; repeating with --request-id {self.request_id} orders it only once.")
            raise


def _tell_order(ordered: Sync, options: Options) -> Exit:
    if options.json:
        print_json(ordered)
    else:
        print(f"Sync {ordered.sync_id} of {ShopName.of(ordered.shop)} is {state_name(ordered)}.")
        if not has_ended(ordered):
            say(f"Watch it: catalogsync{options.catalog_hint} sync watch {ordered.sync_id}")
    return Exit.OK


@sync.command()
@click.argument("sync_id", metavar="ID")
@options_of_command
def watch(sync_id: str) -> Exit:
    """Follow sync ID to its end.

    Its outcome is the exit code. Ctrl-C stops the watching only.
    """

    async def work(options: Options) -> Exit:
        async with open_catalog(options) as client:
            return await follow(client, await client.get_sync(sync_id), options)

    return run(work(current()), current())


@sync.command()
@click.argument("sync_id", metavar="ID")
@options_of_command
def get(sync_id: str) -> Exit:
    """Show sync ID as it is now."""

    async def work(options: Options) -> Exit:
        async with open_catalog(options) as client:
            return _tell_sync(await client.get_sync(sync_id), options)

    return run(work(current()), current())


@sync.command()
@click.argument("sync_id", metavar="ID")
@options_of_command
def cancel(sync_id: str) -> Exit:
    """End sync ID; what was stored stays."""

    async def work(options: Options) -> Exit:
        async with open_catalog(options) as client:
            return _tell_sync(await client.cancel_sync(sync_id), options)

    return run(work(current()), current())


def _tell_sync(found: Sync, options: Options) -> Exit:
    if options.json:
        print_json(found)
    else:
        print_facts(make_console(), _sync_facts(found))
    return Exit.OK


@sync.command(name="list")
@click.argument("shop", type=SHOP, required=False)
@click.option(
    "--state",
    "states",
    type=click.Choice(tuple(STATES), case_sensitive=False),
    multiple=True,
    help="Only in this state; may be given several times.",
)
@click.option("--limit", type=LIMIT, default=20, show_default=True, help="How many at most.")
@options_of_command
def list_(shop: ShopName | None, states: tuple[str, ...], limit: int) -> Exit:
    """List syncs of SHOP or of all shops, newest first."""
    request = ListSyncsRequest(
        shop=shop.for_catalog() if shop else None, states=[STATES[state] for state in states]
    )
    return run(_list(request, limit, current()), current())


async def _list(request: ListSyncsRequest, limit: int, options: Options) -> Exit:
    async with open_catalog(options) as client:

        async def fetch(size: int, token: str) -> tuple[Sequence[Sync], str]:
            request.page_size, request.page_token = size, token
            page = await client.list_syncs(request)
            return page.syncs, page.next_page_token

        listing = Listing(
            fetch=fetch,
            largest_page=LARGEST_PAGE,
            columns=SYNC_COLUMNS,
            row=_sync_row,
            short_row=_short_sync_row,
        )
        return await listing.print(limit, as_json=options.json)


@sync.command()
@click.argument("sync_id", metavar="ID")
@click.option("--limit", type=LIMIT, default=100, show_default=True, help="How many at most.")
@options_of_command
def issues(sync_id: str, limit: int) -> Exit:
    """List the rejected records of sync ID."""
    return run(_issues(ListSyncIssuesRequest(sync_id=sync_id), limit, current()), current())


async def _issues(request: ListSyncIssuesRequest, limit: int, options: Options) -> Exit:
    async with open_catalog(options) as client:

        async def fetch(size: int, token: str) -> tuple[Sequence[SyncIssue], str]:
            request.page_size, request.page_token = size, token
            page = await client.list_issues(request)
            return page.issues, page.next_page_token

        listing = Listing(fetch=fetch, largest_page=LARGEST_PAGE, columns=ISSUE_COLUMNS, row=_issue_row)
        return await listing.print(limit, as_json=options.json)


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
        extent_text(found),
    )


def _issue_row(issue: SyncIssue) -> tuple[str, ...]:
    return (
        str(issue.number),
        enum_name(IssueReason.Name, issue.reason, "ISSUE_REASON_"),
        f"{issue.product_id} (set aside)" if issue.product_set_aside else issue.product_id,
        issue.item_id,
        issue.field,
        issue.message,
        issue.sample,
    )


def _sync_facts(found: Sync) -> list[tuple[str, str]]:
    told = outcome_text(found) if has_ended(found) else plain_text(found, local_now())
    return [
        ("Sync", found.sync_id),
        ("Shop", str(ShopName.of(found.shop))),
        ("State", told),
        ("Mode", enum_name(Sync.Mode.Name, found.mode, "MODE_")),
        ("Why", enum_name(Sync.Trigger.Name, found.trigger, "TRIGGER_")),
        ("Continues", found.parent_sync_id),
        ("Error", error_text(found) if found.HasField("error") else ""),
        *(("Note", note) for note in found.notes),
        ("Changes since", time_text(found, "changes_since_time")),
        ("Attempts", f"{found.attempt_count:,}"),
        ("Reads by", found.strategy),
        ("API version", found.served_api_version),
        ("Ordered", time_text(found, "create_time")),
        ("Began", time_text(found, "start_time")),
        ("Ended", time_text(found, "end_time")),
        ("Correlation id", found.correlation_id),
    ]
