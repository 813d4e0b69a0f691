"""Variations of the next chunk are asked for while those of the last are on their way."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from connector_svc.platforms.woocommerce.batch_loader import loaded
from connector_svc.platforms.woocommerce.json_salvage import RecordReader
from connector_svc.platforms.woocommerce.product_pager import Listed, Place
from connector_svc.platforms.woocommerce.variation_group import Family
from connector_svc.platforms.woocommerce.variations import VariationLists
from connector_svc.platforms.woocommerce.wire import ProductRow
from tests.unit.connector_svc.woocommerce.listing import Listing, client_of, row
from tests.waiting import turns


class SlowLists(VariationLists):
    """Takes a while for each chunk, and longest for the first."""

    def __init__(self) -> None:
        super().__init__(client_of(Listing.of([])))
        self.under_way = 0
        self.most = 0
        self.asked: list[int] = []

    async def families(self, parents: Sequence[ProductRow]) -> Mapping[int, Family]:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        self.asked += [parent.id for parent in parents]
        await turns(30 if len(self.asked) == 1 else 10)
        self.under_way -= 1
        return {parent.id: Family() for parent in parents}


async def test_two_chunks_are_in_the_making_and_come_in_order() -> None:
    rows = [row(key, type="variable", variations=list(range(key * 1000, key * 1000 + 500))) for key in range(1, 7)]
    items = RecordReader(ProductRow).read(json.dumps(rows).encode()).items

    async def pages() -> AsyncGenerator[tuple[Listed, ...], None]:
        yield tuple(Listed(record=item, blemishes=(), place=Place()) for item in items)

    lists = SlowLists()
    async with aclosing(loaded(pages(), lists, 250)) as entries:
        came = [one.record.id for chunk, _ in [entry async for entry in entries] for one in chunk]
    assert came == lists.asked == [1, 2, 3, 4, 5, 6]
    assert lists.most == 2
