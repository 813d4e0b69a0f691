"""The documented format is the one that is read: JSON Schema, example files, and the example publisher."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from connector_svc.domain.fetch import Batch, End, FetchRequest
from connector_svc.domain.shop import Shop
from connector_svc.http.client import open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.http.dependencies import utc_now
from connector_svc.platforms.base import Credentials, Secret
from connector_svc.platforms.feed import FeedPlatform
from connector_svc.platforms.feed.csv_records import csv_records
from connector_svc.platforms.feed.file_reader import Line
from connector_svc.platforms.feed.parse import RecordParser
from connector_svc.platforms.feed.wire import Manifest, ProductLine, SignedManifest, json_schema
from tests import tls

REPOSITORY = Path(__file__).parents[4]
EXAMPLE = REPOSITORY / "examples" / "custom-feed"
SECRET = "an example of a secret of 32 characters or more"


def run_publisher(out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the example as its README says."""
    command = [sys.executable, str(EXAMPLE / "publish.py"), "--domain", "shop.example", "--out", str(out)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_the_published_schema_is_the_one_the_reader_enforces() -> None:
    file = REPOSITORY / "docs" / "custom-feed.schema.json"
    assert json.loads(file.read_text(encoding="utf-8")) == json_schema()


def test_the_example_lines_follow_the_format() -> None:
    for line in (EXAMPLE / "products.ndjson").read_bytes().splitlines():
        msgspec.json.decode(line, type=ProductLine, strict=True)


def test_the_example_csv_has_the_same_products_and_a_tombstone() -> None:
    rows = (EXAMPLE / "products.csv").read_bytes().splitlines()
    records = csv_records(Line(number, row) for number, row in enumerate(rows, 1))
    *products, tombstone = [RecordParser().parse(record) for record in records]
    assert (tombstone.id, tombstone.deleted) == ("1004", True)
    lines = (EXAMPLE / "products.ndjson").read_bytes().splitlines()
    for line, parsed in zip(lines, products, strict=True):
        expected = msgspec.json.decode(line, type=ProductLine)
        assert parsed.product is not None
        assert not parsed.issues
        items = [(v.id, v.sku, v.stock_quantity, str(v.price)) for v in parsed.product.variants]
        assert items == [(v.id, v.sku, v.stock_quantity, v.price) for v in expected.variants]


def test_the_example_signs_with_every_secret_and_refuses_none_or_a_short_one(tmp_path: Path) -> None:
    assert run_publisher(tmp_path, FEED_SECRET=f"{SECRET},{SECRET}-new").returncode == 0
    body = (tmp_path / ".well-known" / "catalogsync-feed.json").read_bytes()
    signed = msgspec.json.decode(body, type=SignedManifest, strict=True)
    assert len(set(signed.signatures)) == 2
    assert msgspec.json.decode(signed.manifest, type=Manifest, strict=True).full.product_count == 3
    for environment in ({}, {"FEED_SECRET": "short"}):
        assert run_publisher(tmp_path, **environment).returncode == 2


class _Credentials:
    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        return {"feed_secret": Secret(SECRET)}


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[str]:
    """Base URL of a static web server for the files of the example."""
    assert run_publisher(tmp_path, FEED_SECRET=SECRET).returncode == 0
    app = web.Application()
    app.router.add_static("/", tmp_path)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_the_example_published_on_a_static_host_is_read_completely(host: str) -> None:
    shop = Shop("feed", "shop.example")
    async with open_http(
        HttpConfig(tls=tls.client_context(), endpoints=Endpoints.of({shop.domain: host}))
    ) as http:
        platform = FeedPlatform(http, _Credentials(), utc_now)
        events = [event async for event in platform.fetch(FetchRequest(shop=shop), on_wait=lambda _: None)]
    [batch] = [event for event in events if isinstance(event, Batch)]
    assert [product.id for product in batch.products] == ["1001", "1002", "1003"]
    assert batch.issues == ()
    assert isinstance(events[-1], End)
