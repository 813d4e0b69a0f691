"""What is asked of a shop as a whole: can it be read, how does it stand; and which platforms there are.

How often a shop is synced without being asked."""

from __future__ import annotations

from datetime import timedelta

import click
from catalogsync.catalog.v1.catalog_service_pb2 import (
    ConnectionHealth,
    GetStatusResponse,
    SetShopScheduleRequest,
    ShopSchedule,
)
from catalogsync.connector.v1.connector_service_pb2 import CheckShopResponse, Platform
from catalogsync_common.duration import parse_duration
from google.protobuf.duration_pb2 import Duration

from catalogsync_cli.client import open_catalog, open_connector
from catalogsync_cli.command import Options, current, options_of_command, run
from catalogsync_cli.exit_codes import Exit
from catalogsync_cli.formatting import enum_name, local_now, outcome_text, plain_text
from catalogsync_cli.output import make_console, print_facts, print_json, print_table, time_text
from catalogsync_cli.shop import SHOP, ShopName


@click.command()
@click.argument("shop", type=SHOP)
@options_of_command
def check(shop: ShopName) -> Exit:
    """Check whether SHOP can be read.

    Asks the platform: credentials, permissions, counts.
    """
    return run(_check(shop, current()), current())


async def _check(shop: ShopName, options: Options) -> Exit:
    async with open_connector(options) as client:
        answer = await client.check_shop(shop)
    if options.json:
        print_json(answer)
    else:
        print_facts(make_console(), _check_facts(shop, answer))
    return Exit.OK


def _check_facts(shop: ShopName, answer: CheckShopResponse) -> list[tuple[str, str]]:
    return [
        ("Shop", f"{shop} can be read"),
        ("Name", answer.shop_name),
        ("Platform's id", answer.platform_shop_id),
        ("Currency", answer.currency_code),
        ("Products", f"{answer.product_count:,}" if answer.HasField("product_count") else ""),
        ("Items", f"{answer.item_count:,}" if answer.HasField("item_count") else ""),
        ("API version", answer.served_api_version),
        ("Permissions", ", ".join(answer.granted_scopes)),
        *(("Note", note) for note in answer.notes),
    ]


@click.command()
@options_of_command
def platforms() -> Exit:
    """List the supported platforms."""
    return run(_platforms(current()), current())


async def _platforms(options: Options) -> Exit:
    async with open_connector(options) as client:
        answer = await client.list_platforms()
    if options.json:
        print_json(answer)
    else:
        columns = ("NAME", "PLATFORM", "CAN", "DOMAINS")
        print_table(make_console(), columns, [_platform_row(platform) for platform in answer.platforms])
    return Exit.OK


def _platform_row(platform: Platform) -> tuple[str, str, str, str]:
    can = platform.capabilities
    told = {"incremental": can.incremental, "bulk": can.bulk, "deletions": can.deletions}
    abilities = ", ".join(name for name, able in told.items() if able) or "full reads only"
    return platform.name, platform.display_name, abilities, platform.domain_pattern


@click.command()
@click.argument("shop", type=SHOP)
@options_of_command
def status(shop: ShopName) -> Exit:
    """Show the state of SHOP.

    Counts, freshness, connection, its last and its active sync.
    """
    return run(_status(shop, current()), current())


async def _status(shop: ShopName, options: Options) -> Exit:
    async with open_catalog(options) as client:
        answer = await client.get_status(shop)
    if options.json:
        print_json(answer)
    else:
        print_facts(make_console(), status_facts(answer))
    return Exit.OK


def status_facts(answer: GetStatusResponse) -> list[tuple[str, str]]:
    """How a shop stands, as name and value."""
    shop = answer.shop
    analysed = f", {answer.analysed_item_count:,} analysed" if answer.HasField("analysed_item_count") else ""
    return [
        ("Shop", str(ShopName.of(shop))),
        ("Name", shop.display_name),
        ("Currency", shop.currency_code),
        ("Products", f"{answer.product_count:,}"),
        ("Items", f"{answer.item_count:,}, {answer.item_with_image_count:,} with an image{analysed}"),
        ("Fresh as of", time_text(answer, "fresh_as_of_time") or "never complete yet"),
        ("Fully read as of", time_text(answer, "full_as_of_time") or "never yet"),
        *(("Note", note) for note in answer.notes),
        ("Connection", _connection_text(answer.connection)),
        *schedule_facts(answer.schedule),
        ("Last sync", _last_sync_text(answer)),
        ("Running sync", _active_sync_text(answer)),
    ]


def _last_sync_text(answer: GetStatusResponse) -> str:
    if not answer.HasField("last_finished_sync"):
        return "none"
    sync = answer.last_finished_sync
    return f"{sync.sync_id}: {outcome_text(sync)}"


def _active_sync_text(answer: GetStatusResponse) -> str:
    if not answer.HasField("active_sync"):
        return ""
    return f"{answer.active_sync.sync_id}: {plain_text(answer.active_sync, local_now())}"


def _connection_text(connection: ConnectionHealth) -> str:
    if connection.state == ConnectionHealth.STATE_UNSPECIFIED:
        return "not known before the first sync has ended"
    state = enum_name(ConnectionHealth.State.Name, connection.state, "STATE_")
    told = f"{connection.message} [{connection.reason}]" if connection.reason else connection.message
    return f"{state}: {told}" if told else state


class IntervalParam(click.ParamType[timedelta]):
    """A click parameter that takes a length of time."""

    name = "interval"

    def convert(
        self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """What was written; "never" is zero. A usage error when it is neither."""
        try:
            return parse_duration("0" if value == "never" else value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}, or never", param, ctx)


INTERVAL = IntervalParam()


@click.command()
@click.argument("shop", type=SHOP)
@click.option("--incremental-every", type=INTERVAL, metavar="15m", help='Read what changed so often; or "never".')
@click.option("--full-every", type=INTERVAL, metavar="24h", help='Read everything so often; or "never".')
@click.option("--pause", is_flag=True, help="Start nothing until --resume.")
@click.option("--resume", is_flag=True, help="End the pause.")
@click.option("--reset", is_flag=True, help="Return what is not given here to the server's defaults.")
@options_of_command
def schedule(
    shop: ShopName,
    incremental_every: timedelta | None,
    full_every: timedelta | None,
    pause: bool,
    resume: bool,
    reset: bool,
) -> Exit:
    """Show or change the schedule of SHOP.

    Without options the schedule is shown. What is not given stays as it is.
    """
    if pause and resume:
        raise click.UsageError("--pause and --resume exclude each other")
    request = SetShopScheduleRequest(
        shop=shop.for_catalog(),
        incremental_every=_duration(incremental_every),
        full_every=_duration(full_every),
        paused=pause if pause or resume else None,
        reset=reset,
    )
    changes = reset or pause or resume or incremental_every is not None or full_every is not None
    return run(_schedule(shop, request if changes else None, current()), current())


async def _schedule(shop: ShopName, request: SetShopScheduleRequest | None, options: Options) -> Exit:
    async with open_catalog(options) as client:
        if request is None:
            answer = (await client.get_status(shop)).schedule
        else:
            answer = await client.set_schedule(request)
    if options.json:
        print_json(answer)
    else:
        print_facts(make_console(), [("Shop", str(shop)), *schedule_facts(answer)])
    return Exit.OK


def schedule_facts(schedule: ShopSchedule) -> list[tuple[str, str]]:
    """When a shop is synced without being asked, as name and value."""
    return [
        ("Incremental", _every_text(schedule.incremental_every, is_default=schedule.incremental_is_default)),
        ("Full", _every_text(schedule.full_every, is_default=schedule.full_is_default)),
        ("Next sync due", "paused" if schedule.paused else time_text(schedule, "next_due_time")),
    ]


def _every_text(every: Duration, *, is_default: bool) -> str:
    seconds = every.ToTimedelta().total_seconds()
    text = f"every {_length_text(round(seconds))}" if seconds else "only when asked for"
    return f"{text} (default)" if is_default else text


def _length_text(seconds: int) -> str:
    """ "1d12h", "15m", "90s" as "1m30s"."""
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "less than 1s"


def _duration(value: timedelta | None) -> Duration | None:
    if value is None:
        return None
    duration = Duration()
    duration.FromTimedelta(value)
    return duration
