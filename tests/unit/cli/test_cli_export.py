"""`catalogsync export`: every item once, exact values, and a file that is complete or not there."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Item, ItemOption
from catalogsync.types.v1.product_pb2 import PRODUCT_STATUS_ACTIVE, Money
from catalogsync_cli.export.formats import CsvWriter, ExportFailed, NdjsonWriter, ParquetWriter
from catalogsync_cli.export.rows import COLUMNS, row_of
from google.protobuf.timestamp_pb2 import Timestamp

from tests.fakes.catalog_service import CatalogServer, FailureWithReason
from tests.unit.cli.conftest import CommandLine
from tests.waiting import until

NAME = "shopify:demo.myshopify.com"
STORED = Timestamp(seconds=1_795_176_000, nanos=123_456_000)
STORED_TEXT = "2026-11-20T12:00:00.123456Z"
FULL = Item(
    item_id="0042",
    product_id="p1",
    position=2,
    product_title='Shirt, "fine"\nlinen',
    title="S / Grün",
    options=[ItemOption(name="Size", value="S")],
    sku="007",
    barcode="4006381333931",
    price=Money(amount="12.50", currency_code="EUR"),
    compare_at_price=Money(amount="123456789012345678.90", currency_code="EUR"),
    stock_quantity=-3,
    available=True,
    weight="0.250",
    weight_unit="kg",
    image_url="https://cdn.example/1.jpg",
    product_status=PRODUCT_STATUS_ACTIVE,
    vendor="=HYPERLINK(1)",
    create_time=STORED,
    update_time=STORED,
    feed_position=1,
)
EMPTY = Item(item_id="1", product_id="p2", feed_position=1)


@pytest.fixture
def items(server: CatalogServer) -> list[Item]:
    server.fake.items[NAME] = [FULL, EMPTY]
    return server.fake.items[NAME]


@pytest.mark.usefixtures("items")
async def test_ndjson_has_all_columns_exact_decimals_and_times_in_utc(run: CommandLine) -> None:
    result = await run("export", NAME)
    assert result.code == 0, result.err
    assert "Exported 2 items" in result.err
    full, empty = result.documents
    assert list(full) == list(COLUMNS) == list(empty)
    assert full["item_id"] == "0042"
    assert (full["price"], full["price_currency"], full["weight"]) == ("12.50", "EUR", "0.250")
    assert full["compare_at_price"] == "123456789012345678.90"
    assert (full["stock_quantity"], full["available"], full["sellable_without_stock"]) == (-3, True, False)
    assert full["options"] == [{"name": "Size", "value": "S"}]
    assert (full["product_status"], full["create_time"], full["delete_time"]) == ("ACTIVE", STORED_TEXT, None)
    assert (empty["price"], empty["stock_quantity"], empty["weight"], empty["sku"]) == (None, None, None, "")


@pytest.mark.usefixtures("items")
async def test_csv_is_read_back_exactly(run: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "items.csv"
    result = await run("export", NAME, "--format", "csv", "--out", str(out))
    assert (result.code, result.out) == (0, ""), result.err
    full, empty = csv.DictReader(io.StringIO(out.read_bytes().decode(), newline=""))
    assert list(full) == list(COLUMNS)
    assert full["product_title"] == FULL.product_title
    assert (full["sku"], full["price"], full["vendor"]) == ("007", "12.50", "=HYPERLINK(1)")
    assert (full["available"], full["create_time"]) == ("true", STORED_TEXT)
    assert json.loads(full["options"]) == [{"name": "Size", "value": "S"}]
    assert (empty["price"], empty["stock_quantity"], empty["options"]) == ("", "", "")


@pytest.mark.usefixtures("items")
async def test_a_csv_for_spreadsheets_has_a_byte_order_mark_and_no_formula(
    run: CommandLine, tmp_path: Path
) -> None:
    out = tmp_path / "items.csv"
    assert (await run("export", NAME, "--format", "csv", "--spreadsheet", "--out", str(out))).code == 0
    assert out.read_bytes().startswith(b"\xef\xbb\xbf")
    full, _ = csv.DictReader(io.StringIO(out.read_bytes().decode("utf-8-sig"), newline=""))
    assert full["vendor"] == "'=HYPERLINK(1)"
    # Numbers are no texts: they stay what they are.
    assert (full["stock_quantity"], full["price"]) == ("-3", "12.50")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_of_a_shop_begins_a_formula(start: str) -> None:
    file = io.BytesIO()
    writer = CsvWriter(file, spreadsheet=True)
    writer.write([row_of(Item(title=f"{start}1+1", sku=f"{start}SKU"))])
    writer.finish()
    (row,) = csv.DictReader(io.StringIO(file.getvalue().decode("utf-8-sig"), newline=""))
    assert row["title"][0] == row["sku"][0] == "'"


@pytest.mark.usefixtures("items")
async def test_parquet_has_decimals_and_timestamps(run: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "items.parquet"
    result = await run("export", NAME, "--format", "parquet", "--out", str(out))
    assert result.code == 0, result.err
    table = pyarrow.parquet.read_table(out)
    assert pyarrow.types.is_decimal128(table.schema.field("price").type)
    assert table.schema.field("create_time").type == pyarrow.timestamp("us", tz="UTC")
    full, empty = table.to_pylist()
    assert full["price"] == Decimal("12.50")
    assert full["compare_at_price"] == Decimal("123456789012345678.90")
    assert full["create_time"] == datetime(2026, 11, 20, 12, 0, 0, 123_456, tzinfo=UTC)
    assert full["options"] == [{"name": "Size", "value": "S"}]
    assert (empty["price"], empty["stock_quantity"]) == (None, None)


def test_a_decimal_that_does_not_fit_is_never_rounded() -> None:
    writer = ParquetWriter(io.BytesIO())
    item = Item(price=Money(amount="0.12345678901234567", currency_code="EUR"))
    with pytest.raises(ExportFailed, match=r"a price does not fit into decimal128.*not rounded: use --format"):
        writer.write([row_of(item)])


def test_no_rows_are_no_lines() -> None:
    for writer_type in (NdjsonWriter, CsvWriter, ParquetWriter):
        file = io.BytesIO()
        writer: Any = writer_type(file)
        writer.write([])
        writer.finish()
        lines = file.getvalue().splitlines() if writer_type is not ParquetWriter else []
        assert len(lines) == (1 if writer_type is CsvWriter else 0)


async def test_every_item_of_many_pages_is_written_once_in_order(
    run: CommandLine, server: CatalogServer, tmp_path: Path
) -> None:
    server.fake.items[NAME] = [Item(item_id=str(n), product_id="p", feed_position=1) for n in range(3_500)]
    out = tmp_path / "items.ndjson"
    assert (await run("export", NAME, "--out", str(out))).code == 0
    ids = [json.loads(line)["item_id"] for line in out.read_text().splitlines()]
    assert ids == [str(n) for n in range(3_500)]


async def test_a_failed_export_leaves_the_old_file(
    run: CommandLine, server: CatalogServer, tmp_path: Path
) -> None:
    server.fake.items[NAME] = [Item(item_id=str(n), product_id="p", feed_position=1) for n in range(1_500)]
    out = tmp_path / "items.ndjson"
    out.write_text("old")
    # The first page is answered, the second one is not.
    server.fake.errors["ListItems"] = [None, FailureWithReason("SHOP_NOT_FOUND", "deleted meanwhile")]
    result = await run("export", NAME, "--out", str(out))
    assert result.code == 3
    assert out.read_text() == "old"
    assert os.listdir(tmp_path) == ["items.ndjson"]


async def test_an_interrupted_export_leaves_no_file(
    run: CommandLine, server: CatalogServer, tmp_path: Path
) -> None:
    server.fake.items[NAME] = [Item(item_id=str(n), product_id="p", feed_position=1) for n in range(1_500)]
    # The second page is never answered.
    server.fake.page_gate = 1
    process = await run.start("export", NAME, "--out", str(tmp_path / "items.ndjson"), "--timeout", "300")
    await until(lambda: len(server.fake.requests) == 2)
    assert [name.endswith(".part") for name in os.listdir(tmp_path)] == [True]
    result = await run.wait(process, with_signal=signal.SIGINT)
    assert result.code == 130
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("arguments", [("--format", "parquet"), ("--spreadsheet",)])
async def test_options_that_do_not_fit_are_usage_errors(run: CommandLine, arguments: tuple[str, ...]) -> None:
    assert (await run("export", NAME, *arguments)).code == 2


async def test_a_file_that_cannot_be_written_is_named(run: CommandLine, items: list[Item]) -> None:
    result = await run("export", NAME, "--out", "/nonexistent/items.ndjson")
    assert result.code == 2
    assert "/nonexistent/items.ndjson" in result.err
