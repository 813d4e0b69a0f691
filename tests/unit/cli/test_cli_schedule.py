"""`catalogsync schedule` as a process, against a catalog on a real socket."""

from __future__ import annotations

import pytest

from tests.fakes.catalog_service import FakeCatalog, timestamp
from tests.unit.cli.conftest import CommandLine

NAME = "shopify:demo.myshopify.com"


@pytest.fixture(autouse=True)
def known(catalog: FakeCatalog) -> None:
    catalog.items[NAME] = []


async def test_a_schedule_is_set_and_told(catalog: FakeCatalog, run: CommandLine) -> None:
    ran = await run("schedule", NAME, "--incremental-every", "15m", "--full-every", "36h")
    assert ran.code == 0
    for told in (NAME, "every 15m", "every 1d12h"):
        assert told in ran.out
    assert "default" not in ran.out
    stored = catalog.schedules[NAME]
    assert (stored.incremental_every.seconds, stored.full_every.seconds) == (900, 129_600)


async def test_what_is_not_given_is_not_sent(catalog: FakeCatalog, run: CommandLine) -> None:
    await run("schedule", NAME, "--incremental-every", "15m")
    ran = await run("schedule", NAME, "--pause")
    assert "paused" in ran.out
    _, request, _ = catalog.requests[-1]
    assert [field.name for field, _ in request.ListFields()] == ["shop", "paused"]
    assert catalog.schedules[NAME].incremental_every.seconds == 900
    resumed = (await run("schedule", NAME, "--resume", "--json")).documents[0]
    assert (resumed["paused"], resumed["incrementalEvery"]) == (False, "900s")


async def test_never_is_zero_and_reset_returns_to_the_defaults(catalog: FakeCatalog, run: CommandLine) -> None:
    ran = await run("schedule", NAME, "--full-every", "never")
    assert ran.out.splitlines()[2].split() == ["Full", "only", "when", "asked", "for"]
    _, request, _ = catalog.requests[-1]
    assert (request.HasField("full_every"), request.full_every.seconds) == (True, 0)
    assert "only when asked for (default)" in (await run("schedule", NAME, "--reset")).out


async def test_without_options_it_shows_and_changes_nothing(catalog: FakeCatalog, run: CommandLine) -> None:
    ran = await run("schedule", NAME)
    assert (ran.code, ran.out.count("only when asked for (default)")) == (0, 2)
    assert [method for method, _, _ in catalog.requests] == ["GetStatus"]


async def test_status_shows_the_schedule_and_the_next_turn(catalog: FakeCatalog, run: CommandLine) -> None:
    await run("schedule", NAME, "--incremental-every", "15m")
    catalog.schedules[NAME].next_due_time.CopyFrom(timestamp(1_700_000_000))
    ran = await run("status", NAME)
    for told in ("every 15m", "only when asked for", "2023-11-14 22:13:20Z"):
        assert told in ran.out


@pytest.mark.parametrize(
    "wrong",
    [("--incremental-every", "soon"), ("--full-every", "-5m"), ("--pause", "--resume"), ("--full-every",)],
)
async def test_a_wrong_schedule_is_refused_before_anything_is_sent(
    catalog: FakeCatalog, run: CommandLine, wrong: tuple[str, ...]
) -> None:
    assert (await run("schedule", NAME, *wrong)).code == 2
    assert catalog.requests == []


async def test_a_shop_never_synced_has_no_schedule(run: CommandLine) -> None:
    assert (await run("schedule", "shopify:other.myshopify.com", "--pause")).code == 3
