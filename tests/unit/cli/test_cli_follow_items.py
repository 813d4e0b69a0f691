"""`catalogsync items follow` against a fake service that is killed, drains, and expires positions."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Item

from tests.fakes.catalog_service import CatalogServer, FakeCatalog, timestamp
from tests.unit.cli.conftest import CommandLine, eventually

NAME = "shopify:demo.myshopify.com"


@pytest.fixture
def items(catalog: FakeCatalog) -> list[Item]:
    stored = [Item(item_id=str(n), product_id="1", product_title="Shirt", feed_position=n) for n in range(1, 4)]
    catalog.items[NAME] = stored
    return stored


def positions(catalog: FakeCatalog) -> list[str]:
    return [request.after_position for method, request, _ in catalog.requests if method == "WatchItems"]


async def test_all_items_are_printed_and_the_position_is_kept_for_the_next_run(
    catalog: FakeCatalog, items: list[Item], run: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "position"
    arguments = ("items", "follow", NAME, "--until-caught-up", "--position-file", str(file))
    first = await run(*arguments)
    assert first.code == 0
    assert [line.split("  ")[0] for line in first.out.splitlines()] == ["1", "2", "3"]
    assert file.read_text().strip() == f"{catalog.incarnation}/3"
    items.append(Item(item_id="4", product_id="1", feed_position=4, delete_time=timestamp(1)))
    second = await run(*arguments, "--json")
    assert [item["itemId"] for item in second.documents[0]["items"]] == ["4"]
    assert second.documents[0]["caughtUp"]
    assert positions(catalog) == ["", f"{catalog.incarnation}/3"]


async def test_a_broken_stream_continues_after_the_last_message(
    catalog: FakeCatalog, items: list[Item], run: CommandLine, server: CatalogServer, tmp_path: Path
) -> None:
    file = tmp_path / "position"
    process = await run.start("items", "follow", NAME, "--json", "--position-file", str(file))
    await eventually(lambda: file.exists())
    await server.kill()
    items.append(Item(item_id="4", product_id="1", feed_position=4))
    await server.start()
    await eventually(lambda: file.read_text().strip().endswith("/4"))
    catalog.is_draining = True
    catalog.item_changed.set()
    await eventually(lambda: len(positions(catalog)) > 2)
    result = await run.wait(process, with_signal=signal.SIGINT)
    printed = [item["itemId"] for document in result.documents for item in document["items"]]
    assert printed == ["1", "2", "3", "4"]
    assert positions(catalog)[:2] == ["", f"{catalog.incarnation}/3"]
    assert "Connection lost" in result.err


async def test_an_expired_position_is_an_error_that_says_what_to_do(
    catalog: FakeCatalog, items: list[Item], run: CommandLine
) -> None:
    catalog.floors[NAME] = 2
    result = await run("items", "follow", NAME, "--after", f"{catalog.incarnation}/1", "--json")
    assert (result.code, result.error["reason"]) == (2, "POSITION_EXPIRED")
    assert "without a position" in result.error["nextStep"]


async def test_options_may_precede_the_shop_of_a_list(
    catalog: FakeCatalog, items: list[Item], run: CommandLine
) -> None:
    for arguments in (("items", "--limit", "2", NAME), ("items", "list", NAME, "--limit", "2")):
        result = await run(*arguments)
        assert result.code == 0
        assert "more than 2" in result.err
