"""Batches fit one message and one round of variation requests, keep the order, and are loaded ahead."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from connector_svc.platforms.woocommerce.batch_loader import load_batches, plan_batches
from connector_svc.platforms.woocommerce.json_salvage import RecordDecoder
from connector_svc.platforms.woocommerce.product_pager import Cursor, ListedProduct
from connector_svc.platforms.woocommerce.variation_group import VariationGroup
from connector_svc.platforms.woocommerce.variations import VariationReader
from connector_svc.platforms.woocommerce.wire import ProductRow
from tests.unit.connector_svc.woocommerce.fake_product_list import FakeProductList, make_client, row
from tests.waiting import let_tasks_run


def _page(rows: list[dict[str, Any]]) -> tuple[ListedProduct, ...]:
    items = RecordDecoder(ProductRow).decode(json.dumps(rows).encode()).items
    return tuple(ListedProduct(record=item, field_faults=(), cursor=Cursor()) for item in items)


async def _planned_ids(*pages: list[dict[str, Any]], max_products: int = 250) -> list[list[int | None]]:
    async def source() -> AsyncGenerator[tuple[ListedProduct, ...], None]:
        for page in pages:
            yield _page(page)

    batches = plan_batches(source(), max_products=max_products)
    return [[product.record.id for product in batch] async for batch in batches]


def _variable(key: int, variation_count: int) -> dict[str, Any]:
    return row(key, type="variable", variations=list(range(key * 1000, key * 1000 + variation_count)))


async def test_pages_of_simple_products_are_joined_up_to_the_limit() -> None:
    pages = [[row(key) for key in range(start, start + 100)] for start in (1, 101, 201)]
    assert [len(batch) for batch in await _planned_ids(*pages)] == [250, 50]
    assert [len(batch) for batch in await _planned_ids(*pages, max_products=40)] == [40] * 7 + [20]


async def test_a_batch_has_variations_for_at_most_five_full_pages() -> None:
    assert await _planned_ids([_variable(key, 100) for key in range(1, 8)]) == [[1, 2, 3, 4, 5], [6, 7]]


async def test_a_product_that_exceeds_the_limits_is_a_batch_of_its_own() -> None:
    assert await _planned_ids([_variable(1, 10), _variable(2, 900), row(3)]) == [[1], [2], [3]]


async def test_long_descriptions_end_a_batch_before_the_message_is_full() -> None:
    pages = [[row(key, description="x" * 100_000) for key in range(1, 11)]]
    assert [len(batch) for batch in await _planned_ids(*pages)] == [3, 3, 3, 1]


async def test_no_products_give_no_batch() -> None:
    assert await _planned_ids() == []


async def test_a_full_batch_does_not_wait_for_the_next_page() -> None:
    pages_read = 0

    async def source() -> AsyncGenerator[tuple[ListedProduct, ...], None]:
        nonlocal pages_read
        for page in ([_variable(1, 250), _variable(2, 250)], [row(3)]):
            pages_read += 1
            yield _page(page)

    async with aclosing(plan_batches(source(), max_products=250)) as batches:
        assert [product.record.id for product in await anext(batches)] == [1, 2]
        assert pages_read == 1


class SlowVariationReader(VariationReader):
    """Takes some time for each batch, and the longest for the first."""

    def __init__(self) -> None:
        super().__init__(make_client(FakeProductList.with_ids([])))
        self.in_flight = 0
        self.max_in_flight = 0
        self.requested_ids: list[int] = []

    async def read_groups(self, parents: Sequence[ProductRow]) -> Mapping[int, VariationGroup]:
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.requested_ids += [parent.id for parent in parents]
        await let_tasks_run(30 if len(self.requested_ids) == 1 else 10)
        self.in_flight -= 1
        return {parent.id: VariationGroup() for parent in parents}


async def test_two_batches_are_loaded_at_a_time_and_yielded_in_order() -> None:
    products = _page([_variable(key, 500) for key in range(1, 7)])

    async def pages() -> AsyncGenerator[tuple[ListedProduct, ...], None]:
        yield products

    variations = SlowVariationReader()
    async with aclosing(load_batches(pages(), variations, 250)) as batches:
        loaded_ids = [product.record.id async for batch in batches for product in batch.products]
    assert loaded_ids == variations.requested_ids == [1, 2, 3, 4, 5, 6]
    assert variations.max_in_flight == 2
