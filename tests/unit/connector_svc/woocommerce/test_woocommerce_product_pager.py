"""Paging loses no product, whatever is written to the store in between."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from connector_svc.domain.errors import SourceQueryRefused
from connector_svc.platforms.woocommerce.product_pager import Place, ProductPager
from tests.unit.connector_svc.woocommerce.listing import Listing, client_of, row


async def _ids(listing: Listing, place: Place = Place()) -> list[int | None]:  # noqa: B008
    pager = ProductPager(client_of(listing), (), place)
    return [listed.record.id async for page in pager.pages() for listed in page]


def _trash_early(count: int) -> Callable[[Listing], None]:
    def trash(listing: Listing) -> None:
        for key in sorted(listing.rows)[:count]:
            del listing.rows[key]

    return trash


def _trash_anywhere(count: int, seed: int) -> Callable[[Listing], None]:
    dice = random.Random(seed)

    def trash(listing: Listing) -> None:
        for key in dice.sample(sorted(listing.rows), min(count, len(listing.rows))):
            del listing.rows[key]

    return trash


async def test_a_quiet_store_is_read_once_with_full_pages() -> None:
    listing = Listing.of(range(1, 2001))
    assert await _ids(listing) == list(range(1, 2001))
    assert listing.calls == 21


@pytest.mark.parametrize("total", [0, 1, 99, 100, 101, 199, 200])
@pytest.mark.parametrize("tells_total", [True, False])
async def test_every_size_of_catalog_is_read_to_its_end(total: int, tells_total: bool) -> None:
    assert await _ids(Listing.of(range(1, total + 1), tells_total=tells_total)) == list(range(1, total + 1))


@pytest.mark.parametrize("tells_total", [True, False])
@pytest.mark.parametrize("per_page", [1, 5, 40])
async def test_trashing_products_already_seen_loses_none(per_page: int, tells_total: bool) -> None:
    listing = Listing.of(range(1, 2001), between=_trash_early(per_page), tells_total=tells_total)
    seen = await _ids(listing)
    # At 40 per call some go before we ever asked for them; whatever stays must come.
    assert set(listing.rows) <= set(seen)
    assert len(seen) == len(set(seen))
    assert len(seen) == 2000 or per_page == 40
    assert listing.calls < 160


@pytest.mark.parametrize("seed", range(20))
async def test_trashing_anywhere_loses_nothing_that_stays(seed: int) -> None:
    listing = Listing.of(range(1, 3001, 2), between=_trash_anywhere(seed * 3, seed))
    seen = await _ids(listing)
    assert set(listing.rows) <= set(seen)
    assert len(seen) == len(set(seen))


async def test_a_trashed_and_a_new_product_together_hide_nothing() -> None:
    """The total stays the same, so that nothing but the overlap tells."""

    def swap(listing: Listing) -> None:
        del listing.rows[min(listing.rows)]
        new = max(listing.rows) + 1
        listing.rows[new] = row(new)

    listing = Listing.of(range(1, 301), between=swap)
    assert (await _ids(listing))[:300] == list(range(1, 301))


async def test_the_pass_goes_on_where_it_stood_although_products_went() -> None:
    listing = Listing.of(range(351, 1001))
    assert await _ids(listing, Place(last_id=500, offset=500)) == list(range(501, 1001))


async def test_the_pass_goes_on_although_the_store_shrank_below_the_place() -> None:
    listing = Listing.of([10, 20, 600, 700])
    assert await _ids(listing, Place(last_id=500, offset=500)) == [600, 700]


async def test_products_that_the_key_may_not_read_do_not_end_the_list() -> None:
    listing = Listing.of(range(1, 301), unreadable=set(range(90, 120)))
    assert await _ids(listing) == [*range(1, 90), *range(120, 301)]


async def test_a_product_without_an_id_is_told_once() -> None:
    listing = Listing.of(range(1, 251))
    del listing.rows[150]["id"]
    seen = await _ids(listing)
    assert seen.count(None) == 1
    assert len(seen) == 250


async def test_a_store_that_ignores_the_order_is_not_believed() -> None:
    listing = Listing.of(range(1, 11))
    listing.rows[3]["id"] = 9
    with pytest.raises(SourceQueryRefused):
        await _ids(listing)
