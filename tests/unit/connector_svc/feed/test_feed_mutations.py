"""Mutated feed files become products or issues, never a crash; both reads of a file find the same ids."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb

from connector_svc.domain.records import SAMPLE_LENGTH
from connector_svc.platforms.feed.csv_records import InvalidHeader, csv_records
from connector_svc.platforms.feed.file_reader import Record, ndjson_records, read_lines
from connector_svc.platforms.feed.id_scan import read_ids, scan_records
from connector_svc.platforms.feed.parse import RecordParser
from connector_svc.platforms.feed.wire import FeedFile
from connector_svc.rpc.convert import fill_product
from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Platform
from devstore.feed.files import build_file, product_line
from devstore.spec import ShopSpec
from tests.case_counts import case_count
from tests.unit.connector_svc.mutation.mutator import encoded, mutated, mutations

PAYLOADS = case_count(2_000, in_ci=5_000)
PARSER = RecordParser()


def catalog_lines() -> list[dict[str, Any]]:
    spec = ShopSpec(platform=Platform.FEED, domain="shop.example", products=60)
    catalog = Catalog(spec)
    found = [product_line(catalog, product, "https://shop.example") for product in catalog.products()]
    return [line for line in found if len(line["variants"]) <= 4]


LINES = catalog_lines()


def file_of(body: bytes, fmt: str) -> FeedFile:
    return FeedFile(
        path="/feed",
        format=fmt,  # type: ignore[arg-type]
        bytes=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        row_count=0,
        product_count=0,
    )


def records(body: bytes, fmt: str) -> Iterator[Record]:
    found = read_lines(io.BytesIO(body), file_of(body, fmt))
    return csv_records(found) if fmt == "csv" else ndjson_records(found)


def check(record: Record) -> None:
    """Assert that a record becomes exactly one of: a product that can be sent, a tombstone, a rejected record."""
    parsed = PARSER.parse(record)
    ids = read_ids(record)
    assert (parsed.id, parsed.deleted) == (ids.id, ids.deleted)
    rejected = sum(issue.product_rejected for issue in parsed.issues)
    assert rejected + parsed.deleted + (parsed.product is not None) == 1
    for issue in parsed.issues:
        assert issue.message.startswith(f"Line {record.line}: ")
        assert len(issue.sample) <= SAMPLE_LENGTH
    if parsed.product is not None:
        fill_product(pb.Product(), parsed.product)
        for variant in parsed.product.variants:
            assert variant.price is None or (variant.price.is_finite() and variant.price >= 0)


@pytest.mark.parametrize("part", range(5))
def test_mutated_lines_of_ndjson_become_products_or_issues(part: int) -> None:
    for number in range(PAYLOADS // 5):
        rng = random.Random(f"{part}/{number}")
        line = rng.choice(LINES)
        text = encoded(mutated(line, mutations(line, rng)))
        if rng.random() < 0.2:
            place = rng.randrange(len(text))
            text = text[:place] + rng.randbytes(3) + text[place + rng.randrange(5) :]
        for record in records(text, "ndjson"):
            check(record)


@pytest.mark.parametrize("part", range(5))
def test_mutated_rows_of_csv_become_products_or_issues(part: int) -> None:
    body = build_file("full", LINES[:4], "csv", ()).body
    for number in range(PAYLOADS // 5):
        rng = random.Random(f"csv/{part}/{number}")
        text = bytearray(body)
        for _ in range(rng.randrange(1, 6)):
            place = rng.randrange(body.index(b"\n") + 1, len(body))
            text[place : place + rng.randrange(4)] = rng.choice(
                [b'"', b",", b"\n", b"\r", b"\x00", b"\xff", b'""', b"-", b"9" * 30, rng.randbytes(4)]
            )
        for record in records(bytes(text), "csv"):
            check(record)


def test_a_csv_without_required_columns_is_refused() -> None:
    for header in (b"", b"title,price\n1,2\n", b"id,id,title,variant_id\n", b"\xff\xfe"):
        with pytest.raises(InvalidHeader):
            list(records(header, "csv"))


async def test_the_scan_counts_what_the_second_read_delivers() -> None:
    body = b"".join(msgspec.json.encode(line) + b"\n\n" for line in LINES) + b'{"id": 7, "deleted": true}\n{}\nx\n'
    scan = await scan_records(records(body, "ndjson"))
    await asyncio.sleep(0)
    counts = (scan.rows, scan.records, scan.products, scan.tombstones, scan.missing_id)
    assert counts == (len(LINES) + 3, len(LINES) + 3, len(LINES) + 2, 1, 2)


def test_an_id_keeps_its_leading_zeros() -> None:
    text = b'{"id": "00012", "title": "", "variants": [{"id": "0007", "sku": "00000134000", "price": "7.30"}]}'
    [record] = records(text, "ndjson")
    product = PARSER.parse(record).product
    assert product is not None
    [variant] = product.variants
    assert (product.id, variant.id, variant.sku, str(variant.price)) == ("00012", "0007", "00000134000", "7.30")


def test_a_lost_csv_row_makes_its_product_incomplete() -> None:
    text = "id,title,variant_id,variant_price\n1,A,11,1\n1,A,12\n1,A,13,3\n2,B,21,1\n"
    one, two = [PARSER.parse(record) for record in records(text.encode(), "csv")]
    assert one.product is not None
    assert two.product is not None
    assert [variant.id for variant in one.product.variants] == ["11", "13"]
    assert (one.product.variants_complete, two.product.variants_complete) == (False, True)
    assert [issue.product_id for issue in one.issues] == ["1"]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("price", "abc", "INVALID_PRICE"),
        ("price", "-1", "INVALID_PRICE"),
        ("price", 7.3, "INVALID_PRICE"),
        ("stock_quantity", "many", "INVALID_FIELD"),
        ("sku", 134000, "INVALID_FIELD"),
        ("sku", "x" * 300, "TOO_LARGE"),
    ],
)
def test_an_invalid_variant_is_dropped_alone_and_reported(field: str, value: object, reason: str) -> None:
    line = {"id": "1", "title": "A", "variants": [{"id": "11", "price": "1"}, {"id": "12", field: value}]}
    [record] = records(msgspec.json.encode(line), "ndjson")
    parsed = PARSER.parse(record)
    assert parsed.product is not None
    assert [variant.id for variant in parsed.product.variants] == ["11"]
    assert not parsed.product.variants_complete
    [issue] = parsed.issues
    assert (issue.variant_id, issue.field, issue.reason.name) == ("12", field, reason)


def test_a_line_that_is_too_long_is_rejected_and_the_next_one_is_read() -> None:
    text = b'{"id": "' + b"x" * (5 * 1024 * 1024) + b'"}\n{"id": "2", "title": "B", "variants": []}\n'
    first, second = [PARSER.parse(record) for record in records(text, "ndjson")]
    assert first.issues[0].reason.name == "TOO_LARGE"
    assert second.product is not None
    assert second.issues == ()
