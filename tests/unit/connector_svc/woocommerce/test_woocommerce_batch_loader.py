"""Chunks fit one message and one round of variation calls, and keep every product in its place."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from connector_svc.platforms.woocommerce.batch_loader import chunks
from connector_svc.platforms.woocommerce.json_salvage import RecordReader
from connector_svc.platforms.woocommerce.product_pager import Listed, Place
from connector_svc.platforms.woocommerce.wire import ProductRow
from tests.unit.connector_svc.woocommerce.listing import row


async def _chunks(*pages: list[dict[str, Any]], most: int = 250) -> list[list[int | None]]:
    async def listed() -> AsyncGenerator[tuple[Listed, ...], None]:
        for page in pages:
            items = RecordReader(ProductRow).read(json.dumps(page).encode()).items
            yield tuple(Listed(record=item, blemishes=(), place=Place()) for item in items)

    return [[one.record.id for one in chunk] async for chunk in chunks(listed(), most_products=most)]


def _variable(key: int, children: int) -> dict[str, Any]:
    return row(key, type="variable", variations=list(range(key * 1000, key * 1000 + children)))


async def test_pages_of_simple_products_join_up_to_the_limit() -> None:
    pages = [[row(key) for key in range(start, start + 100)] for start in (1, 101, 201)]
    assert [len(chunk) for chunk in await _chunks(*pages)] == [250, 50]
    assert [len(chunk) for chunk in await _chunks(*pages, most=40)] == [40] * 7 + [20]


async def test_variations_end_a_chunk_at_five_full_calls() -> None:
    assert await _chunks([_variable(key, 100) for key in range(1, 8)]) == [[1, 2, 3, 4, 5], [6, 7]]


async def test_a_product_larger_than_a_chunk_stands_alone() -> None:
    assert await _chunks([_variable(1, 10), _variable(2, 900), row(3)]) == [[1], [2], [3]]


async def test_long_descriptions_end_a_chunk_before_the_message_is_full() -> None:
    pages = [[row(key, description="x" * 100_000) for key in range(1, 11)]]
    assert [len(chunk) for chunk in await _chunks(*pages)] == [3, 3, 3, 1]


async def test_no_products_are_no_chunk() -> None:
    assert await _chunks() == []


async def test_a_full_chunk_does_not_wait_for_the_next_page() -> None:
    asked = 0

    async def listed() -> AsyncGenerator[tuple[Listed, ...], None]:
        nonlocal asked
        for page in ([_variable(1, 250), _variable(2, 250)], [row(3)]):
            asked += 1
            items = RecordReader(ProductRow).read(json.dumps(page).encode()).items
            yield tuple(Listed(record=item, blemishes=(), place=Place()) for item in items)

    async with aclosing(chunks(listed(), most_products=250)) as gathered:
        assert [one.record.id for one in await anext(gathered)] == [1, 2]
        assert asked == 1
