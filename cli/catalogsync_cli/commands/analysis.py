"""The commands `analysis list|get|dead|requeue`: show what analyzers found in images, and analyze images again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

import click
from catalogsync.catalog.v1.analysis_pb2 import AnalysisState
from catalogsync.catalog.v1.analysis_service_pb2 import (
    GetAnalysisResponse,
    ImageAnalysis,
    ImageIds,
    ListAnalysesRequest,
    ListDeadTasksRequest,
    RequeueTasksRequest,
    RequeueTasksResponse,
)
from catalogsync_client import ShopName

from catalogsync_cli.analysis_text import analysis_state_text, category_text, image_analysis_fields
from catalogsync_cli.client import open_catalog
from catalogsync_cli.command import Options, command_options, current_options, run
from catalogsync_cli.exit_codes import ExitCode
from catalogsync_cli.output import (
    LIMIT,
    Listing,
    make_console,
    print_fields,
    print_json,
    short_time_text,
    time_text,
)
from catalogsync_cli.shop import SHOP

_MAX_PAGE_SIZE = 250
_MAX_IMAGES_PER_CALL = 1_000
_STATES = {
    name.removeprefix("ANALYSIS_STATE_").lower(): number
    for name, number in AnalysisState.items()
    if name in ("ANALYSIS_STATE_PENDING", "ANALYSIS_STATE_ANALYZED", "ANALYSIS_STATE_FAILED")
}
_RESULT_COLUMNS = ("IMAGE ID", "ITEM", "STATE", "QUALITY", "CONFIDENCE", "CATEGORY", "ANALYZED")
_TASK_COLUMNS = ("ANALYZER", "IMAGE ID", "ITEM", "STATE", "ATTEMPTS", "REASON", "MESSAGE")
_Fetch: TypeAlias = Callable[[int, str], Awaitable[tuple[Sequence[ImageAnalysis], str]]]


class ScoreParam(click.ParamType[str]):
    """A click parameter type for scores: decimals from 0 to 1, as they are written."""

    name = "score"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the score as a decimal string, or fail with a usage error."""
        try:
            score = Decimal(value)
        except InvalidOperation:
            score = Decimal("NaN")
        if score.is_nan() or not 0 <= score <= 1:
            self.fail(f"{value!r}: expected a number from 0 to 1, such as 0.75", param, ctx)
        return f"{score:f}"


SCORE = ScoreParam()


@click.group()
def analysis() -> None:
    """Show analyses of images, and queue images again.

    `shops update --analyzer` switches an analyzer on.
    """


@analysis.command("list")
@click.argument("shop", type=SHOP)
@click.option("--analyzer", required=True, metavar="NAME", help="List analyses of this analyzer.")
@click.option(
    "--state",
    type=click.Choice(tuple(_STATES), case_sensitive=False),
    default="analyzed",
    show_default=True,
    help="List results, or tasks in this state.",
)
@click.option("--category", default="", metavar="NAME", help="List only results of this category.")
@click.option("--min-quality", type=SCORE, metavar="0.5", help="List only results of this quality or better.")
@click.option("--max-quality", type=SCORE, metavar="0.5", help="List only results of this quality or worse.")
@click.option("--limit", type=LIMIT, default=50, show_default=True, help="Maximum number of analyses to list.")
@command_options
def list_analyses(
    shop: ShopName,
    analyzer: str,
    state: str,
    category: str,
    min_quality: str | None,
    max_quality: str | None,
    limit: int,
) -> ExitCode:
    """List analyses of the images of SHOP, lowest quality first."""
    request = ListAnalysesRequest(
        shop=shop.for_catalog(),
        analyzer=analyzer,
        state=_STATES[state],
        category=category,
        min_quality_score=min_quality or "",
        max_quality_score=max_quality or "",
    )

    async def work(options: Options) -> ExitCode:
        async with open_catalog(options) as client:

            async def fetch(size: int, token: str) -> tuple[Sequence[ImageAnalysis], str]:
                request.page_size, request.page_token = size, token
                page = await client.list_analyses(request)
                return page.analyses, page.next_page_token

            listing = _results(fetch) if state == "analyzed" else _tasks(fetch)
            return await listing.print(limit, output=options.output)

    return run(work(current_options()), current_options())


@analysis.command()
@click.argument("shop", type=SHOP)
@click.argument("item_id", metavar="ITEM")
@command_options
def get(shop: ShopName, item_id: str) -> ExitCode:
    """Show the analyses of the image of ITEM, named by its platform id."""

    async def work(options: Options) -> ExitCode:
        async with open_catalog(options) as client:
            _print_item(item_id, await client.get_analysis(shop, item_id), options)
        return ExitCode.OK

    return run(work(current_options()), current_options())


def _print_item(item_id: str, found: GetAnalysisResponse, options: Options) -> None:
    if options.json:
        print_json(found)
        return
    console = make_console()
    state = analysis_state_text(found.state) or "no analyzer is switched on"
    print_fields(console, [("Item", item_id), ("Analysis", state)])
    for each in found.analyses:
        console.print()
        print_fields(console, image_analysis_fields(each))


@analysis.command()
@click.argument("shop", type=SHOP)
@click.option("--analyzer", default="", metavar="NAME", help="List only tasks of this analyzer.")
@click.option("--limit", type=LIMIT, default=50, show_default=True, help="Maximum number of tasks to list.")
@command_options
def dead(shop: ShopName, analyzer: str, limit: int) -> ExitCode:
    """List the tasks of SHOP whose attempts all failed, and why."""
    request = ListDeadTasksRequest(shop=shop.for_catalog(), analyzer=analyzer)

    async def work(options: Options) -> ExitCode:
        async with open_catalog(options) as client:

            async def fetch(size: int, token: str) -> tuple[Sequence[ImageAnalysis], str]:
                request.page_size, request.page_token = size, token
                page = await client.list_dead_tasks(request)
                return page.tasks, page.next_page_token

            return await _tasks(fetch).print(limit, output=options.output)

    return run(work(current_options()), current_options())


@analysis.command()
@click.argument("shop", type=SHOP)
@click.option("--analyzer", required=True, metavar="NAME", help="Requeue images for this analyzer.")
@click.option("--dead", "is_dead", is_flag=True, help="Requeue the images whose attempts all failed.")
@click.option("--image", "image_ids", multiple=True, metavar="ID", help="Requeue this image; may be repeated.")
@click.option("--other-than-model", metavar="VERSION", help="Requeue the results of other versions of the model.")
@command_options
def requeue(
    shop: ShopName, analyzer: str, is_dead: bool, image_ids: tuple[str, ...], other_than_model: str | None
) -> ExitCode:
    """Queue images of SHOP for another analysis.

    A result that exists stays until the new one replaces it.
    """
    if [is_dead, bool(image_ids), other_than_model is not None].count(True) != 1:
        raise click.UsageError("give one of --dead, --image and --other-than-model")
    template = RequeueTasksRequest(shop=shop.for_catalog(), analyzer=analyzer)
    if is_dead:
        template.dead = True
    if other_than_model is not None:
        template.other_than_model_version = other_than_model
    return run(_requeue(_requests(template, image_ids), current_options()), current_options())


def _requests(template: RequeueTasksRequest, image_ids: Sequence[str]) -> list[RequeueTasksRequest]:
    """Return the request, or one for each thousand of the images."""
    if not image_ids:
        return [template]
    requests = []
    for start in range(0, len(image_ids), _MAX_IMAGES_PER_CALL):
        ids = ImageIds(ids=image_ids[start : start + _MAX_IMAGES_PER_CALL])
        requests.append(RequeueTasksRequest(shop=template.shop, analyzer=template.analyzer, image_ids=ids))
    return requests


async def _requeue(requests: Sequence[RequeueTasksRequest], options: Options) -> ExitCode:
    total = RequeueTasksResponse()
    async with open_catalog(options) as client:
        for request in requests:
            total.requeued_count += await client.requeue(request)
    if options.json:
        print_json(total)
    else:
        print_fields(make_console(), [("Requeued images", f"{total.requeued_count:,}")])
    return ExitCode.OK


def _results(fetch: _Fetch) -> Listing[ImageAnalysis]:
    return Listing(
        fetch=fetch,
        max_page_size=_MAX_PAGE_SIZE,
        columns=_RESULT_COLUMNS,
        row=_result_row,
        short_row=lambda found: _result_row(found, short=True),
        more_columns=("MODEL", "IMAGE"),
        more_cells=lambda found: (found.result.model_version or "-", found.image_url or "-"),
    )


def _result_row(found: ImageAnalysis, *, short: bool = False) -> tuple[str, ...]:
    return (
        found.image_id,
        found.item_id or "-",
        analysis_state_text(found.state),
        found.result.quality_score,
        found.result.confidence_score,
        category_text(found.result) or "-",
        (short_time_text if short else time_text)(found, "analyze_time"),
    )


def _tasks(fetch: _Fetch) -> Listing[ImageAnalysis]:
    return Listing(
        fetch=fetch,
        max_page_size=_MAX_PAGE_SIZE,
        columns=_TASK_COLUMNS,
        row=_task_row,
        more_columns=("IMAGE",),
        more_cells=lambda found: (found.image_url or "-",),
    )


def _task_row(found: ImageAnalysis) -> tuple[str, ...]:
    return (
        found.analyzer,
        found.image_id,
        found.item_id or "-",
        analysis_state_text(found.state),
        f"{found.attempt_count:,}",
        found.failure.reason or "-",
        found.failure.message or "-",
    )
