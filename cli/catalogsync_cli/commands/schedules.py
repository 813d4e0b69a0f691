"""How often a shop is synced without being asked."""

from __future__ import annotations

from datetime import timedelta

import click
from catalogsync.catalog.v1.catalog_service_pb2 import SetShopScheduleRequest, ShopSchedule
from catalogsync_common.duration import parse_duration
from google.protobuf.duration_pb2 import Duration

from catalogsync_cli.client import open_catalog
from catalogsync_cli.exits import Exit
from catalogsync_cli.options import Options, current, options_of_command
from catalogsync_cli.output import make_console, print_facts, print_json, time_text
from catalogsync_cli.running import run
from catalogsync_cli.shop import SHOP, ShopName


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
