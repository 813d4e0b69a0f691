"""Paging loses no product, whatever is written to the store in between."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from connector_svc.domain.errors import SourceQueryRefused
from connector_svc.platforms.woocommerce.product_pager import Cursor, ProductPager, modified_since
from tests.unit.connector_svc.woocommerce.fake_product_list import FakeProductList, make_client, row


async def _read_ids(products: FakeProductList, cursor: Cursor = Cursor()) -> list[int | None]:  # noqa: B008
    pager = ProductPager(make_client(products), (), cursor)
    return [listed.record.id async for page in pager.pages() for listed in page]


def _trash_lowest_ids(count: int) -> Callable[[FakeProductList], None]:
    def trash(products: FakeProductList) -> None:
        for key in sorted(products.rows)[:count]:
            del products.rows[key]

    return trash


def _trash_anywhere(count: int, seed: int) -> Callable[[FakeProductList], None]:
    dice = random.Random(seed)

    def trash(products: FakeProductList) -> None:
        for key in dice.sample(sorted(products.rows), min(count, len(products.rows))):
            del products.rows[key]

    return trash


async def test_an_unchanged_store_is_read_once_with_full_pages() -> None:
    products = FakeProductList.with_ids(range(1, 2001))
    assert await _read_ids(products) == list(range(1, 2001))
    assert products.calls == 21


@pytest.mark.parametrize("total", [0, 1, 99, 100, 101, 199, 200])
@pytest.mark.parametrize("has_total", [True, False])
async def test_catalogs_of_every_size_are_read_to_the_end(total: int, has_total: bool) -> None:
    assert await _read_ids(FakeProductList.with_ids(range(1, total + 1), has_total=has_total)) == list(
        range(1, total + 1)
    )


@pytest.mark.parametrize("has_total", [True, False])
@pytest.mark.parametrize("per_page", [1, 5, 40])
async def test_trashing_products_already_seen_loses_none(per_page: int, has_total: bool) -> None:
    products = FakeProductList.with_ids(
        range(1, 2001), after_page=_trash_lowest_ids(per_page), has_total=has_total
    )
    seen = await _read_ids(products)
    # At 40 per request some are trashed before they were requested; all that stay must be read.
    assert set(products.rows) <= set(seen)
    assert len(seen) == len(set(seen))
    assert len(seen) == 2000 or per_page == 40
    assert products.calls < 160


@pytest.mark.parametrize("seed", range(20))
async def test_trashing_anywhere_loses_no_product_that_stays(seed: int) -> None:
    products = FakeProductList.with_ids(range(1, 3001, 2), after_page=_trash_anywhere(seed * 3, seed))
    seen = await _read_ids(products)
    assert set(products.rows) <= set(seen)
    assert len(seen) == len(set(seen))


async def test_a_trashed_and_a_new_product_together_hide_nothing() -> None:
    """The total stays the same, so only the overlap of the pages shows the change."""

    def swap(products: FakeProductList) -> None:
        del products.rows[min(products.rows)]
        new = max(products.rows) + 1
        products.rows[new] = row(new)

    products = FakeProductList.with_ids(range(1, 301), after_page=swap)
    assert (await _read_ids(products))[:300] == list(range(1, 301))


async def test_a_pass_resumes_at_its_cursor_although_products_were_trashed() -> None:
    products = FakeProductList.with_ids(range(351, 1001))
    assert await _read_ids(products, Cursor(last_id=500, offset=500)) == list(range(501, 1001))


async def test_a_pass_resumes_although_the_store_has_fewer_products_than_the_offset() -> None:
    products = FakeProductList.with_ids([10, 20, 600, 700])
    assert await _read_ids(products, Cursor(last_id=500, offset=500)) == [600, 700]


async def test_products_that_the_key_may_not_read_do_not_end_the_list() -> None:
    products = FakeProductList.with_ids(range(1, 301), hidden=set(range(90, 120)))
    assert await _read_ids(products) == [*range(1, 90), *range(120, 301)]


async def test_a_product_without_an_id_is_yielded_once() -> None:
    products = FakeProductList.with_ids(range(1, 251))
    del products.rows[150]["id"]
    seen = await _read_ids(products)
    assert seen.count(None) == 1
    assert len(seen) == 250


async def test_a_store_that_ignores_the_order_is_rejected() -> None:
    products = FakeProductList.with_ids(range(1, 11))
    products.rows[3]["id"] = 9
    with pytest.raises(SourceQueryRefused):
        await _read_ids(products)


@pytest.mark.parametrize(
    ("moment", "bound"),
    [
        (datetime.min.replace(tzinfo=UTC), "1970-01-01T23:59:59"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), "1970-01-01T23:59:59"),
        (datetime(2026, 1, 10, 12, tzinfo=timezone(timedelta(hours=1))), "2026-01-10T10:59:59"),
    ],
)
def test_the_modification_filter_starts_a_second_earlier_and_not_before_1970(moment: datetime, bound: str) -> None:
    assert dict(modified_since(moment)) == {"modified_after": bound, "dates_are_gmt": "true"}
