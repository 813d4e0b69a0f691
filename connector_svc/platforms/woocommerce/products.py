"""Pages of products in the order of their ids, of which no write in between loses any.

The API knows no key to go on from, only offsets, and whatever is trashed before an offset moves the rest forward.
So each page begins with the last product of the one before: when that is not there, we step back until we see
something known. Inserts come at the end, since ids grow.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from connector_svc.domain.errors import SourceQueryRefused, SourceResponseInvalid
from connector_svc.domain.fault import Fault
from connector_svc.platforms.woocommerce.client import Answer, Params, StoreClient
from connector_svc.platforms.woocommerce.record import Broken, RecordReader, Records
from connector_svc.platforms.woocommerce.wire import PRODUCT_FIELDS, ProductRow

PRODUCTS: Final = "/wp-json/wc/v3/products"
PER_PAGE: Final = 100
_ORDER: Final = (("orderby", "id"), ("order", "asc"))
_MOST_IDLE_PAGES: Final = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a pass stands."""

    last_id: int = 0
    """Of the products seen; 0: none."""
    offset: int = 0
    """How many products stood up to and with the last one seen, when it was seen; only a hint later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A product that was not seen before."""

    record: ProductRow | Broken
    blemishes: tuple[Fault, ...]
    place: Place
    """Right after it."""


class ProductPager:
    """Walks once over the products that `window` selects, from `place` on."""

    def __init__(self, client: StoreClient, window: Params, place: Place, *, fields: str = PRODUCT_FIELDS) -> None:
        self._client = client
        self._fields = fields
        self._window = window
        self._last_id = place.last_id
        self._end = place.offset
        self._total: int | None = None
        self._reader = RecordReader(ProductRow)
        self.began_at: datetime | None = None
        """The store's clock when it gave the first page; None when it tells no time, or has given none."""
        self.whole = True
        """Whether every row that the store counts was on its page, and had an id."""

    @property
    def total(self) -> int | None:
        """How many products the store counted with the last page; None when it did not tell, or gave none."""
        return self._total

    async def pages(self) -> AsyncGenerator[tuple[Listed, ...], None]:
        """Yields what is new, page by page, until the store has no more. Raises SourceFailure."""
        idle, over = 0, False
        while not over:
            start, answer = await self._anchored()
            fresh = self._fresh(start, answer.value)
            over = _is_last(start, answer)
            idle = 0 if fresh else idle + 1
            if idle > _MOST_IDLE_PAGES:
                raise SourceResponseInvalid(self._client.shop, "its list of products does not hold still")
            if fresh:
                yield fresh

    async def _anchored(self) -> tuple[int, Answer[Records[ProductRow]]]:
        """The next page, beginning at a product already seen."""
        start, step = max(self._end - 1, 0), 0
        while True:
            answer = await self._page(start)
            first = next((item.id for item in answer.value.items if item.id is not None), None)
            if start == 0 or (first is not None and first <= self._last_id):
                self._total = answer.total
                self.whole = self.whole and _is_whole(start, answer)
                return start, answer
            step = step * 2 or self._vanished(answer.total)
            start = max(start - step, 0)

    def _vanished(self, total: int | None) -> int:
        """How far to step back first: by as many as went, if the store tells, since most stood before us."""
        return 1 if total is None or self._total is None else max(self._total - total, 1)

    async def _page(self, start: int) -> Answer[Records[ProductRow]]:
        params = (
            ("offset", str(start)),
            ("per_page", str(PER_PAGE)),
            *_ORDER,
            ("_fields", self._fields),
            *self._window,
        )
        answer = await self._client.get(PRODUCTS, params, self._reader.read)
        self.began_at = self.began_at or answer.at
        ids = [item.id for item in answer.value.items if item.id is not None]
        if ids != sorted(ids):
            raise SourceQueryRefused(self._client.shop, "products do not come in the order of their ids")
        return answer

    def _fresh(self, start: int, records: Records[ProductRow]) -> tuple[Listed, ...]:
        fresh: list[Listed] = []
        seen_to = self._end
        for offset, record in enumerate(records.items, start + 1):
            known = offset <= seen_to if record.id is None else record.id <= self._last_id
            if known:
                continue
            self._last_id = self._last_id if record.id is None else record.id
            blemishes = records.blemishes.get(record.id, ()) if record.id is not None else ()
            place = Place(last_id=self._last_id, offset=offset)
            fresh.append(Listed(record=record, blemishes=blemishes, place=place))
        self._end = start + len(records.items)
        return tuple(fresh)


def _is_whole(start: int, answer: Answer[Records[ProductRow]]) -> bool:
    items = answer.value.items
    if answer.total is None or any(item.id is None for item in items):
        return False
    return len(items) >= min(PER_PAGE, max(answer.total - start, 0))


def _is_last(start: int, answer: Answer[Records[ProductRow]]) -> bool:
    """Without a total a page that is not full is the last; with one it may only hide rows that we may not read."""
    if answer.total is None:
        return len(answer.value.items) < PER_PAGE
    return start + PER_PAGE >= answer.total
