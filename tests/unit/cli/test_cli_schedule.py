"""`catalogsync schedule` as a process, against a fake catalog on a real socket."""

from __future__ import annotations

import pytest

from tests.fakes.catalog_service import FakeCatalog, timestamp
from tests.unit.cli.conftest import CommandLine

NAME = "shopify:demo.myshopify.com"


@pytest.fixture(autouse=True)
def known_shop(catalog: FakeCatalog) -> None:
    catalog.items[NAME] = []


async def test_a_schedule_is_set_and_shown(catalog: FakeCatalog, run: CommandLine) -> None:
    result = await run("schedule", NAME, "--incremental-every", "15m", "--full-every", "36h")
    assert result.code == 0
    for text in (NAME, "every 15m", "every 1d12h"):
        assert text in result.out
    assert "default" not in result.out
    stored = catalog.schedules[NAME]
    assert (stored.incremental_interval.seconds, stored.full_interval.seconds) == (900, 129_600)


async def test_options_that_are_not_given_are_not_sent(catalog: FakeCatalog, run: CommandLine) -> None:
    await run("schedule", NAME, "--incremental-every", "15m")
    result = await run("schedule", NAME, "--pause")
    assert "paused" in result.out
    _, request, _ = catalog.requests[-1]
    assert list(request.update_mask.paths) == ["paused"]
    assert catalog.schedules[NAME].incremental_interval.seconds == 900
    resumed = (await run("schedule", NAME, "--resume", "--json")).documents[0]
    assert (resumed["paused"], resumed["incrementalInterval"]) == (False, "900s")


async def test_reset_returns_everything_to_the_defaults_but_what_is_given(
    catalog: FakeCatalog, run: CommandLine
) -> None:
    await run("schedule", NAME, "--incremental-every", "15m", "--full-every", "36h", "--pause")
    result = await run("schedule", NAME, "--reset", "--full-every", "12h")
    assert "every 12h" in result.out
    assert "on request only (default)" in result.out
    assert catalog.schedules[NAME].paused is False


async def test_never_is_zero_and_reset_returns_to_the_defaults(catalog: FakeCatalog, run: CommandLine) -> None:
    result = await run("schedule", NAME, "--full-every", "never")
    assert result.out.splitlines()[2].split() == ["Full", "on", "request", "only"]
    _, request, _ = catalog.requests[-1]
    assert (request.update.HasField("full_interval"), request.update.full_interval.seconds) == (True, 0)
    assert "on request only (default)" in (await run("schedule", NAME, "--reset")).out


async def test_without_options_the_schedule_is_shown_and_not_changed(
    catalog: FakeCatalog, run: CommandLine
) -> None:
    result = await run("schedule", NAME)
    assert (result.code, result.out.count("on request only (default)")) == (0, 2)
    assert [method for method, _, _ in catalog.requests] == ["GetShop"]


async def test_status_shows_the_schedule_and_the_next_due_time(catalog: FakeCatalog, run: CommandLine) -> None:
    await run("schedule", NAME, "--incremental-every", "15m")
    catalog.schedules[NAME].next_due_time.CopyFrom(timestamp(1_700_000_000))
    result = await run("status", NAME)
    for text in ("every 15m", "on request only", "2023-11-14 22:13:20Z"):
        assert text in result.out


@pytest.mark.parametrize(
    "options",
    [("--incremental-every", "soon"), ("--full-every", "-5m"), ("--pause", "--resume"), ("--full-every",)],
)
async def test_an_invalid_schedule_is_rejected_before_a_request_is_sent(
    catalog: FakeCatalog, run: CommandLine, options: tuple[str, ...]
) -> None:
    assert (await run("schedule", NAME, *options)).code == 2
    assert catalog.requests == []


async def test_a_shop_without_a_sync_has_no_schedule(run: CommandLine) -> None:
    assert (await run("schedule", "shopify:other.myshopify.com", "--pause")).code == 3
