"""Commands about a shop as a whole, `check`, `status` and `schedule`, and the command `platforms`."""

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
from catalogsync.errors.v1.error_reason_pb2 import ErrorReason
from catalogsync_common.duration import format_duration, parse_duration
from google.protobuf.duration_pb2 import Duration

from catalogsync_cli.client import open_catalog, open_connector
from catalogsync_cli.command import Options, command_options, current_options, run
from catalogsync_cli.exit_codes import ExitCode
from catalogsync_cli.formatting import enum_name, outcome_text, status_line, utc_now
from catalogsync_cli.output import make_console, print_fields, print_json, print_table, time_text
from catalogsync_cli.shop import SHOP, ShopName

_PLATFORM_COLUMNS = ("NAME", "PLATFORM", "CAPABILITIES", "DOMAINS")


@click.command()
@click.argument("shop", type=SHOP)
@command_options
def check(shop: ShopName) -> ExitCode:
    """Check that SHOP can be read.

    Calls the platform to verify credentials and permissions, and counts products.
    """
    return run(_check(shop, current_options()), current_options())


async def _check(shop: ShopName, options: Options) -> ExitCode:
    async with open_connector(options) as client:
        response = await client.check_shop(shop)
    if options.json:
        print_json(response)
    else:
        print_fields(make_console(), _check_fields(shop, response))
    return ExitCode.OK


def _check_fields(shop: ShopName, response: CheckShopResponse) -> list[tuple[str, str]]:
    return [
        ("Shop", f"{shop} can be read"),
        ("Name", response.display_name),
        ("Platform's id", response.platform_shop_id),
        ("Currency", response.currency_code),
        ("Products", f"{response.product_count:,}" if response.HasField("product_count") else ""),
        ("Items", f"{response.variant_count:,}" if response.HasField("variant_count") else ""),
        ("API version", response.served_api_version),
        ("Permissions", ", ".join(response.granted_scopes)),
        *(("Note", note) for note in response.notes),
    ]


@click.command()
@command_options
def platforms() -> ExitCode:
    """List the supported platforms."""
    return run(_platforms(current_options()), current_options())


async def _platforms(options: Options) -> ExitCode:
    async with open_connector(options) as client:
        response = await client.list_platforms()
    if options.json:
        print_json(response)
    else:
        print_table(make_console(), _PLATFORM_COLUMNS, [_platform_row(each) for each in response.platforms])
    return ExitCode.OK


def _platform_row(platform: Platform) -> tuple[str, str, str, str]:
    supported = platform.capabilities
    flags = {"incremental": supported.incremental, "bulk": supported.bulk, "deletions": supported.deletions}
    capabilities = ", ".join(name for name, enabled in flags.items() if enabled) or "full reads only"
    return platform.name, platform.display_name, capabilities, platform.domain_pattern


@click.command()
@click.argument("shop", type=SHOP)
@command_options
def status(shop: ShopName) -> ExitCode:
    """Show the status of SHOP.

    Shows item counts, freshness, connection health, schedule, and the last and active syncs.
    """
    return run(_status(shop, current_options()), current_options())


async def _status(shop: ShopName, options: Options) -> ExitCode:
    async with open_catalog(options) as client:
        response = await client.get_status(shop)
    if options.json:
        print_json(response)
    else:
        print_fields(make_console(), status_fields(response))
    return ExitCode.OK


def status_fields(response: GetStatusResponse) -> list[tuple[str, str]]:
    """Return the status of a shop as names and values."""
    shop = response.shop
    analyzed = f", {response.analyzed_item_count:,} analyzed" if response.HasField("analyzed_item_count") else ""
    return [
        ("Shop", str(ShopName.of(shop))),
        ("Name", shop.display_name),
        ("Currency", shop.currency_code),
        ("Products", f"{response.product_count:,}"),
        ("Items", f"{response.item_count:,}, {response.item_with_image_count:,} with an image{analyzed}"),
        ("Up to date as of", time_text(response, "fresh_as_of_time") or "no complete sync yet"),
        ("Last full read as of", time_text(response, "full_as_of_time") or "no full sync yet"),
        *(("Note", note) for note in response.notes),
        ("Connection", _connection_text(response.connection)),
        *_schedule_fields(response.schedule),
        ("Last sync", _last_sync_text(response)),
        ("Active sync", _active_sync_text(response)),
    ]


def _last_sync_text(response: GetStatusResponse) -> str:
    if not response.HasField("last_finished_sync"):
        return "none"
    sync = response.last_finished_sync
    return f"{sync.sync_id}: {outcome_text(sync)}"


def _active_sync_text(response: GetStatusResponse) -> str:
    if not response.HasField("active_sync"):
        return ""
    return f"{response.active_sync.sync_id}: {status_line(response.active_sync, utc_now())}"


def _connection_text(connection: ConnectionHealth) -> str:
    if connection.state == ConnectionHealth.STATE_UNSPECIFIED:
        return "unknown until the first sync has ended"
    state = enum_name(ConnectionHealth.State.Name, connection.state, "STATE_")
    reason = enum_name(ErrorReason.Name, connection.reason, "ERROR_REASON_") if connection.reason else ""
    message = f"{connection.message} [{reason}]" if reason else connection.message
    return f"{state}: {message}" if message else state


class IntervalParam(click.ParamType[timedelta]):
    """A click parameter type for durations such as 15m, or "never"."""

    name = "interval"

    def convert(
        self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Return the parsed duration, zero for "never", or fail with a usage error."""
        try:
            return parse_duration("0" if value == "never" else value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}, or never", param, ctx)


INTERVAL = IntervalParam()


@click.command()
@click.argument("shop", type=SHOP)
@click.option(
    "--incremental-every", type=INTERVAL, metavar="15m", help='Set the incremental interval; "never" disables it.'
)
@click.option("--full-every", type=INTERVAL, metavar="24h", help='Set the full interval; "never" disables it.')
@click.option("--pause", is_flag=True, help="Pause scheduled syncs.")
@click.option("--resume", is_flag=True, help="Resume scheduled syncs.")
@click.option("--reset", is_flag=True, help="Reset what is not given here to the server's defaults.")
@command_options
def schedule(
    shop: ShopName,
    incremental_every: timedelta | None,
    full_every: timedelta | None,
    pause: bool,
    resume: bool,
    reset: bool,
) -> ExitCode:
    """Show or change the schedule of SHOP.

    Shows the schedule if no option is given. Settings that are not given stay unchanged.
    """
    if pause and resume:
        raise click.UsageError("--pause and --resume exclude each other")
    request = SetShopScheduleRequest(
        shop=shop.for_catalog(),
        incremental_interval=_to_proto(incremental_every),
        full_interval=_to_proto(full_every),
        paused=pause if pause or resume else None,
        reset=reset,
    )
    changes = reset or pause or resume or incremental_every is not None or full_every is not None
    return run(_schedule(shop, request if changes else None, current_options()), current_options())


async def _schedule(shop: ShopName, request: SetShopScheduleRequest | None, options: Options) -> ExitCode:
    async with open_catalog(options) as client:
        if request is None:
            response = (await client.get_status(shop)).schedule
        else:
            response = await client.set_schedule(request)
    if options.json:
        print_json(response)
    else:
        print_fields(make_console(), [("Shop", str(shop)), *_schedule_fields(response)])
    return ExitCode.OK


def _schedule_fields(schedule: ShopSchedule) -> list[tuple[str, str]]:
    return [
        ("Incremental", _interval_text(schedule.incremental_interval, is_default=schedule.incremental_is_default)),
        ("Full", _interval_text(schedule.full_interval, is_default=schedule.full_is_default)),
        ("Next sync due", "paused" if schedule.paused else time_text(schedule, "next_due_time")),
    ]


def _interval_text(interval: Duration, *, is_default: bool) -> str:
    duration = interval.ToTimedelta()
    text = f"every {format_duration(duration)}" if duration else "on request only"
    return f"{text} (default)" if is_default else text


def _to_proto(value: timedelta | None) -> Duration | None:
    if value is None:
        return None
    duration = Duration()
    duration.FromTimedelta(value)
    return duration
