"""Rows of a bulk result, joined on disk."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from connector_svc.platforms.shopify.bulk_join import BulkJoin, InvalidRow, JoinedProduct
from connector_svc.platforms.shopify.bulk_reader import is_provably_complete, record_from
from connector_svc.platforms.shopify.bulk_result import BulkReadFailed, ExpectedCounts, OpenFile, filled
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


def spilled(*rows: Json, after: int = 0) -> list[JoinedProduct]:
    spill = BulkJoin(after=after)
    spill.add(map(line, rows))
    found = spill.page(after, most=250, most_bytes=MIB)
    spill.close()
    return found


def test_children_are_joined_by_parent_wherever_they_stand_and_products_come_in_the_order_of_ids() -> None:
    wholes = spilled(
        product(2, media=1),
        product(1, variants=2),
        variant(21, 2),
        variant(11, 1),
        medium(5, "Product/2"),
        variant(12, 1),
        medium(5, "ProductVariant/21"),
    )
    one, two = (record_from(whole).product for whole in wholes)
    assert one
    assert two
    assert [variant.id for variant in one.variants] == ["11", "12"]
    assert (two.variants[0].id, two.variants[0].sku, str(two.variants[0].price)) == ("21", "00012", "7.30")
    assert two.variants[0].image is not None
    assert two.variants[0].image.id == two.images[0].id == "5"


def test_a_variant_shows_the_first_of_its_media() -> None:
    rows = [product(1, media=2), variant(11, 1), medium(6, "ProductVariant/11"), medium(5, "ProductVariant/11")]
    [whole] = spilled(*rows, medium(5, "Product/1"), medium(6, "Product/1"))
    found = record_from(whole).product
    assert found
    assert found.variants[0].image
    assert found.variants[0].image.id == "6"


def test_media_that_are_no_images_are_counted_and_not_shown() -> None:
    [whole] = spilled(product(1, media=2), variant(11, 1), medium(5, "Product/1", "Video"), medium(6, "Product/1"))
    record = record_from(whole)
    assert record.product
    assert [image.id for image in record.product.images] == ["6"]
    assert not record.needs_second_look


def test_what_was_stored_before_is_not_kept_again() -> None:
    rows = [product(1), product(2), variant(11, 1), variant(21, 2), medium(5, "Product/1")]
    spill = BulkJoin(after=1)
    spill.add(map(line, rows))
    assert (spill.kept, spill.highest, spill.rows, spill.roots) == (1, 2, 5, 2)
    spill.close()


@pytest.mark.parametrize(
    "rows",
    [
        [product(1, variants=2), variant(11, 1)],
        [product(1, media=2), variant(11, 1), medium(5, "Product/1"), medium(5, "ProductVariant/11")],
        [product(1, variants=2), variant(11, 1), {**variant(12, 1), "id": None}],
        [product(1, variants=2), variant(11, 1), variant(12, 1, id=7)],
        [{**product(1), "mediaCount": "none"}, variant(11, 1)],
    ],
    ids=["variants", "media", "a variant without id", "an id that is no text", "no count"],
)
def test_a_product_whose_counts_do_not_agree_is_looked_at_again(rows: list[Json]) -> None:
    [whole] = spilled(*rows)
    record = record_from(whole)
    assert record.needs_second_look
    assert not is_provably_complete(whole, record)


def test_a_product_is_proven_whole_by_its_counts_and_the_images_of_all_its_variants() -> None:
    plain = [product(1), variant(11, 1)]
    shown = [product(1, media=1), variant(11, 1), medium(5, "Product/1")]
    for rows, proven in ((plain, True), (shown, False), ([*shown, medium(5, "ProductVariant/11")], True)):
        [whole] = spilled(*rows)
        assert is_provably_complete(whole, record_from(whole)) is proven


def test_a_product_that_does_not_follow_the_schema_is_rejected_alone() -> None:
    broken, whole = spilled({**product(1), "title": 7}, variant(11, 1), product(2), variant(21, 2))
    record = record_from(broken)
    assert record.product is None
    assert (record.issues[0].product_id, record.issues[0].field) == ("1", "title")
    assert record_from(whole).product


@pytest.mark.parametrize("text", [b"{", b"[]", b"7", b'{"title":"x"}', b'{"id":"gid://shopify/Shop/1"}', b"\xff"])
def test_a_row_that_nobody_can_place_makes_the_file_unusable(text: bytes) -> None:
    spill = BulkJoin(after=0)
    with pytest.raises(InvalidRow):
        spill.add([text])
    spill.close()


def test_a_page_ends_at_its_bounds() -> None:
    spill = BulkJoin(after=0)
    spill.add(line(row) for number in range(1, 21) for row in (product(number), variant(number, number)))
    assert [whole.number for whole in spill.page(0, most=3, most_bytes=MIB)] == [1, 2, 3]
    assert [whole.number for whole in spill.page(3, most=250, most_bytes=1)] == [4]
    assert spill.page(20, most=250, most_bytes=MIB) == []
    spill.close()


def chunks_of(body: bytes, size: int = 100) -> OpenFile:
    async def chunks() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    return chunks


async def load(body: bytes, expected: ExpectedCounts) -> tuple[int, int]:
    spill = await filled(chunks_of(body), expected, after=0, on_progress=lambda products, size: None)
    counts = spill.rows, spill.roots
    spill.close()
    return counts


BODY = b"\n".join(line(row) for row in (product(1), variant(11, 1), product(2), variant(21, 2))) + b"\n"


async def test_rows_are_cut_from_pieces_of_any_size_with_or_without_a_last_newline() -> None:
    for body in (BODY, BODY.rstrip(), BODY.replace(b"\n", b"\r\n"), BODY + b"\n"):
        assert await load(body, ExpectedCounts(rows=4, roots=2)) == (4, 2)


@pytest.mark.parametrize(
    ("body", "expected", "text"),
    [
        (BODY[:-10], ExpectedCounts(), "within a row"),
        (BODY, ExpectedCounts(rows=5), "4 of 5 rows"),
        (BODY, ExpectedCounts(roots=3), "2 of 3 products"),
        (BODY, ExpectedCounts(size=len(BODY) + 1), "bytes"),
        (b"<html>no</html>\n", ExpectedCounts(), "InvalidRow"),
    ],
    ids=["cut", "rows", "products", "bytes", "html"],
)
async def test_a_file_that_is_not_whole_is_never_taken_for_one(
    body: bytes, expected: ExpectedCounts, text: str
) -> None:
    with pytest.raises(BulkReadFailed, match=text):
        await load(body, expected)


async def test_a_file_that_came_short_once_is_loaded_again() -> None:
    bodies = [BODY[:-10], BODY]
    spill = await filled(
        lambda: chunks_of(bodies.pop(0))(),
        ExpectedCounts(rows=4),
        after=0,
        on_progress=lambda products, size: None,
    )
    assert (spill.rows, bodies) == (4, [])
    spill.close()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def large_file(products: int) -> Iterator[bytes]:
    """All products first, then their variants: every child is as far from its parent as can be."""
    filling = "x" * 400
    for number in range(1, products + 1):
        yield line({**product(number, variants=4), "descriptionHtml": filling}) + b"\n"
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

    before, received, most = resident(), 0, 0

    def on_progress(products: int, size: int) -> None:
        nonlocal received, most
        received, most = size, max(most, resident())

    spill = await filled(chunks, ExpectedCounts(rows=150_000, roots=30_000), after=0, on_progress=on_progress)
    products, after = 0, 0
    while page := spill.page(after, most=250, most_bytes=2 * MIB):
        after, products, most = page[-1].number, products + len(page), max(most, resident())
    spill.close()
    assert products == 30_000
    assert received > 60 * MIB
    assert most - before < 30 * MIB
