"""Downloading, checking and joining the rows of a bulk result."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from connector_svc.platforms.shopify.bulk_join import BulkJoin, InvalidRow, JoinedProduct
from connector_svc.platforms.shopify.bulk_reader import is_provably_complete, to_bulk_record
from connector_svc.platforms.shopify.bulk_result import BulkReadFailed, ExpectedCounts, OpenFile, download_rows
from tests.unit.connector_svc.shopify.nodes_json import Json

MIB = 1024 * 1024


def product(number: int, *, variants: int = 1, media: int = 0) -> Json:
    return {
        "id": f"gid://shopify/Product/{number}",
        "title": f"Product {number}",
        "handle": "h",
        "descriptionHtml": "",
        "vendor": "",
        "productType": "",
        "tags": [],
        "status": "ACTIVE",
        "onlineStoreUrl": None,
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-01T00:00:00Z",
        "options": [],
        "variantsCount": {"count": variants, "precision": "EXACT"},
        "mediaCount": {"count": media, "precision": "EXACT"},
    }


def variant(number: int, parent: int, **changes: object) -> Json:
    return {
        "id": f"gid://shopify/ProductVariant/{number}",
        "title": f"Variant {number}",
        "sku": "00012",
        "barcode": None,
        "price": "7.30",
        "compareAtPrice": None,
        "inventoryQuantity": 3,
        "inventoryPolicy": "DENY",
        "availableForSale": True,
        "position": 1,
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-01T00:00:00Z",
        "selectedOptions": [],
        "__parentId": f"gid://shopify/Product/{parent}",
        **changes,
    }


def medium(number: int, parent: str, kind: str = "MediaImage") -> Json:
    image = (
        {"image": {"url": f"https://cdn/{number}.png", "width": 1, "height": 1}} if kind == "MediaImage" else {}
    )
    return {"id": f"gid://shopify/{kind}/{number}", "alt": None, **image, "__parentId": f"gid://shopify/{parent}"}


def line(row: Json) -> bytes:
    return json.dumps(row).encode()


def joined(*rows: Json, after: int = 0) -> list[JoinedProduct]:
    join = BulkJoin(after=after)
    join.add(map(line, rows))
    found = join.page(after, max_products=250, max_bytes=MIB)
    join.close()
    return found


def test_children_are_joined_by_parent_at_any_position_and_products_are_in_id_order() -> None:
    products = joined(
        product(2, media=1),
        product(1, variants=2),
        variant(21, 2),
        variant(11, 1),
        medium(5, "Product/2"),
        variant(12, 1),
        medium(5, "ProductVariant/21"),
    )
    one, two = (to_bulk_record(joined_product).product for joined_product in products)
    assert one
    assert two
    assert [variant.id for variant in one.variants] == ["11", "12"]
    assert (two.variants[0].id, two.variants[0].sku, str(two.variants[0].price)) == ("21", "00012", "7.30")
    assert two.variants[0].image is not None
    assert two.variants[0].image.id == two.images[0].id == "5"


def test_the_image_of_a_variant_is_its_first_medium() -> None:
    rows = [product(1, media=2), variant(11, 1), medium(6, "ProductVariant/11"), medium(5, "ProductVariant/11")]
    [joined_product] = joined(*rows, medium(5, "Product/1"), medium(6, "Product/1"))
    found = to_bulk_record(joined_product).product
    assert found
    assert found.variants[0].image
    assert found.variants[0].image.id == "6"


def test_media_that_are_not_images_are_counted_but_not_delivered() -> None:
    [joined_product] = joined(
        product(1, media=2), variant(11, 1), medium(5, "Product/1", "Video"), medium(6, "Product/1")
    )
    record = to_bulk_record(joined_product)
    assert record.product
    assert [image.id for image in record.product.images] == ["6"]
    assert not record.needs_reread


def test_rows_up_to_the_last_delivered_id_are_not_stored() -> None:
    rows = [product(1), product(2), variant(11, 1), variant(21, 2), medium(5, "Product/1")]
    join = BulkJoin(after=1)
    join.add(map(line, rows))
    assert (join.product_count, join.last_product_id, join.rows, join.root_rows) == (1, 2, 5, 2)
    join.close()


@pytest.mark.parametrize(
    "rows",
    [
        [product(1, variants=2), variant(11, 1)],
        [product(1, media=2), variant(11, 1), medium(5, "Product/1"), medium(5, "ProductVariant/11")],
        [product(1, variants=2), variant(11, 1), {**variant(12, 1), "id": None}],
        [product(1, variants=2), variant(11, 1), variant(12, 1, id=7)],
        [{**product(1), "mediaCount": "none"}, variant(11, 1)],
    ],
    ids=["variants", "media", "a variant without id", "an id that is not a string", "no count"],
)
def test_a_product_whose_counts_disagree_needs_a_reread(rows: list[Json]) -> None:
    [joined_product] = joined(*rows)
    record = to_bulk_record(joined_product)
    assert record.needs_reread
    assert not is_provably_complete(joined_product, record)


def test_a_product_is_provably_complete_by_its_counts_and_the_images_of_all_its_variants() -> None:
    plain = [product(1), variant(11, 1)]
    shown = [product(1, media=1), variant(11, 1), medium(5, "Product/1")]
    for rows, proven in ((plain, True), (shown, False), ([*shown, medium(5, "ProductVariant/11")], True)):
        [joined_product] = joined(*rows)
        assert is_provably_complete(joined_product, to_bulk_record(joined_product)) is proven


def test_a_product_that_does_not_follow_the_schema_is_rejected_alone() -> None:
    invalid, valid = joined({**product(1), "title": 7}, variant(11, 1), product(2), variant(21, 2))
    record = to_bulk_record(invalid)
    assert record.product is None
    assert (record.issues[0].product_id, record.issues[0].field) == ("1", "title")
    assert to_bulk_record(valid).product


@pytest.mark.parametrize("text", [b"{", b"[]", b"7", b'{"title":"x"}', b'{"id":"gid://shopify/Shop/1"}', b"\xff"])
def test_a_row_without_a_usable_id_or_parent_makes_the_file_invalid(text: bytes) -> None:
    join = BulkJoin(after=0)
    with pytest.raises(InvalidRow):
        join.add([text])
    join.close()


def test_a_page_ends_at_its_limits() -> None:
    join = BulkJoin(after=0)
    join.add(line(row) for number in range(1, 21) for row in (product(number), variant(number, number)))
    assert [product.product_id for product in join.page(0, max_products=3, max_bytes=MIB)] == [1, 2, 3]
    assert [product.product_id for product in join.page(3, max_products=250, max_bytes=1)] == [4]
    assert join.page(20, max_products=250, max_bytes=MIB) == []
    join.close()


def chunks_of(body: bytes, size: int = 100) -> OpenFile:
    async def chunks() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    return chunks


async def load(body: bytes, expected: ExpectedCounts) -> tuple[int, int]:
    join = await download_rows(chunks_of(body), expected, after=0, on_progress=lambda products, size: None)
    counts = join.rows, join.root_rows
    join.close()
    return counts


BODY = b"\n".join(line(row) for row in (product(1), variant(11, 1), product(2), variant(21, 2))) + b"\n"


async def test_rows_are_split_from_chunks_of_any_size_with_or_without_a_final_newline() -> None:
    for body in (BODY, BODY.rstrip(), BODY.replace(b"\n", b"\r\n"), BODY + b"\n"):
        assert await load(body, ExpectedCounts(rows=4, root_rows=2)) == (4, 2)


@pytest.mark.parametrize(
    ("body", "expected", "text"),
    [
        (BODY[:-10], ExpectedCounts(), "within a row"),
        (BODY, ExpectedCounts(rows=5), "4 of 5 rows"),
        (BODY, ExpectedCounts(root_rows=3), "2 of 3 products"),
        (BODY, ExpectedCounts(size_bytes=len(BODY) + 1), "bytes"),
        (b"<html>no</html>\n", ExpectedCounts(), "InvalidRow"),
    ],
    ids=["cut", "rows", "products", "bytes", "html"],
)
async def test_a_truncated_file_is_never_accepted(body: bytes, expected: ExpectedCounts, text: str) -> None:
    with pytest.raises(BulkReadFailed, match=text):
        await load(body, expected)


async def test_a_file_that_was_truncated_once_is_downloaded_again() -> None:
    bodies = [BODY[:-10], BODY]
    join = await download_rows(
        lambda: chunks_of(bodies.pop(0))(),
        ExpectedCounts(rows=4),
        after=0,
        on_progress=lambda products, size: None,
    )
    assert (join.rows, bodies) == (4, [])
    join.close()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def large_file(products: int) -> Iterator[bytes]:
    """Yield all products first, then their variants: every child is as far from its parent as possible."""
    description = "x" * 400
    for number in range(1, products + 1):
        yield line({**product(number, variants=4), "descriptionHtml": description}) + b"\n"
    for number in range(1, 4 * products + 1):
        yield line(variant(number, (number - 1) // 4 + 1)) + b"\n"


async def test_memory_does_not_grow_with_the_file() -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        buffer = bytearray()
        for text in large_file(30_000):
            buffer += text
            if len(buffer) > 256 * 1024:
                yield bytes(buffer)
                buffer.clear()
        yield bytes(buffer)

    before, received, highest = resident_bytes(), 0, 0

    def on_progress(products: int, size: int) -> None:
        nonlocal received, highest
        received, highest = size, max(highest, resident_bytes())

    join = await download_rows(
        chunks, ExpectedCounts(rows=150_000, root_rows=30_000), after=0, on_progress=on_progress
    )
    products, after = 0, 0
    while page := join.page(after, max_products=250, max_bytes=2 * MIB):
        after, products = page[-1].product_id, products + len(page)
        highest = max(highest, resident_bytes())
    join.close()
    assert products == 30_000
    assert received > 60 * MIB
    assert highest - before < 30 * MIB
