"""The commands of an operator with real services: import credentials, watch syncs in `top`, export, remove."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb

from tests.e2e.small_system import DOMAIN, SHOP, SmallSystem, small_system
from tests.unit.cli.conftest import CommandLine
from tests.waiting import until_found

NAME = f"shopify:{DOMAIN}"


@pytest.mark.long
async def test_credentials_are_imported_and_a_shop_is_watched_exported_and_removed(tmp_path: Path) -> None:
    async with small_system(products=400, latency_ms=150) as system:
        credentials = system.directory / "imported.toml"
        credentials.write_text("# Empty\n")
        await system.start_connector("connector", CREDENTIALS_FILE=str(credentials))
        await system.start_catalog("catalog")
        run = CommandLine(system.catalog_address("catalog"), system.connector)
        await _import(run, system, credentials, tmp_path)
        await _sync_in_top(run)
        await _export(run, system, tmp_path)
        await _remove(run)


async def _import(run: CommandLine, system: SmallSystem, credentials: Path, directory: Path) -> None:
    missing = await run("doctor", NAME, "--json")
    assert missing.code == 1
    (failed,) = (each for each in missing.documents if each["outcome"] == "failed")
    assert (failed["check"], "import-credentials" in failed["message"]) == (f"credentials of {NAME}", True)
    export = directory / "old.csv"
    export.write_text(f"platform,domain,access_token\nshopify,{DOMAIN},{system.access_token}\n")
    result = await run(
        "import-credentials", str(export), "--credentials-file", str(credentials), "--check", "--json"
    )
    assert result.code == 0, result.err
    assert [each["result"] for each in result.documents] == ["accepted"]
    assert system.access_token not in result.out + result.err
    healthy = await run("doctor", NAME)
    assert healthy.code == 0, healthy.out


async def _sync_in_top(run: CommandLine) -> None:
    started = (await run("sync", "start", NAME, "--full", "--json")).documents[0]

    async def shown() -> dict[str, Any] | None:
        result = await run("top", "--json")
        assert result.code == 0, result.err
        return next((each for each in result.documents if each["state"] == "STATE_RUNNING"), None)

    assert (await until_found(shown))["syncId"] == started["syncId"]
    assert (await run("sync", "watch", started["syncId"])).code == 0
    ended = await run("top")
    assert (ended.code, ended.out) == (0, ""), "an ended sync is not active"


async def _export(run: CommandLine, system: SmallSystem, directory: Path) -> None:
    files = {name: directory / f"items.{name}" for name in ("ndjson", "csv", "parquet")}
    for name, file in files.items():
        result = await run("export", NAME, "--format", name, "--out", str(file))
        assert result.code == 0, result.err
    stored = await _stored_items(system)
    assert len(stored) == system.items
    lines = [json.loads(line) for line in files["ndjson"].read_text().splitlines()]
    assert {line["item_id"]: line["price"] for line in lines} == {
        item.item_id: item.price.amount if item.HasField("price") else None for item in stored
    }
    assert len(lines) == len(stored)
    with files["csv"].open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [(row["item_id"], row["price"], row["sku"]) for row in rows] == [
        (line["item_id"], line["price"] or "", line["sku"]) for line in lines
    ]
    records = pyarrow.parquet.read_table(files["parquet"]).to_pylist()
    assert [(record["item_id"], record["price"]) for record in records] == [
        (line["item_id"], Decimal(line["price"]) if line["price"] else None) for line in lines
    ]


async def _stored_items(system: SmallSystem) -> list[pb.Item]:
    async with system.stub("catalog") as stub:
        request = pb.ListItemsRequest(shop=SHOP, page_size=1_000)
        stored: list[pb.Item] = []
        while True:
            page = await stub.ListItems(request)
            stored += page.items
            if not page.next_page_token:
                return stored
            request.page_token = page.next_page_token


async def _remove(run: CommandLine) -> None:
    kept = await run.answer("y\n", "shops", "remove", NAME)
    assert kept.code == 130
    removed = await run.answer(f"{DOMAIN}\n", "shops", "remove", NAME, "--watch")
    assert removed.code == 0, removed.err
    assert "Deletion ended" in removed.out
    assert (await run("status", NAME)).code == 3
