"""One page of the product list; rows that the store counts and leaves out are asked for again, then located.

Some products are counted and never listed: their plugin is gone, or another one hides them from the key's user.
Some rows are left out once, under load. Both look alike at first: a page with fewer rows than its total says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic

from connector_svc.domain.errors import SourceQueryRefused
from connector_svc.domain.records import Fault
from connector_svc.platforms.woocommerce.client import Answer, Params, StoreClient
from connector_svc.platforms.woocommerce.record import Broken, RecordReader, Records, RowT

PRODUCTS: Final = "/wp-json/wc/v3/products"
PER_PAGE: Final = 100
_ORDER: Final = (("orderby", "id"), ("order", "asc"))
_REPEATS: Final = 3
"""Times that a short page is asked for again."""
_MOST_SEARCH_REQUESTS: Final = 300
"""Of one list, to locate rows: about 20 for a row that stands alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page(Generic[RowT]):
    """The rows at offsets `start` to `start + PER_PAGE`."""

    start: int
    rows: tuple[tuple[int, RowT | Broken | None], ...]
    """Each with its place in the list, from 1; None: a product that is counted there and not listed.

    Where `missing` is not 0, places may be too low.
    """
    blemishes: Mapping[int, tuple[Fault, ...]]
    total: int | None
    """Of the list; None when the store does not tell."""
    at: datetime | None
    """The store's clock."""
    missing: int = 0
    """Rows that are counted, not listed, and not located either."""

    @property
    def first_id(self) -> int | None:
        """Of the first row that has one."""
        return next((record.id for _, record in self.rows if record is not None and record.id is not None), None)

    @property
    def last_place(self) -> int:
        """Of the last row that has an id; 0: none."""
        named = (place for place, record in self.rows if record is not None and record.id is not None)
        return max(named, default=0)

    @property
    def is_last(self) -> bool:
        """Without a total a page that is not full is the last; with one it may only hide rows."""
        if self.total is None:
            return len(self.rows) < PER_PAGE
        return self.start + PER_PAGE >= self.total

    @property
    def is_whole(self) -> bool:
        """Whether every row that the store counts came, and had an id."""
        if self.total is None or self.missing:
            return False
        return all(record is not None and record.id is not None for _, record in self.rows)


class _NotLocated(Exception):
    """The list changed during the search, or the search takes too many requests."""


class PageReader(Generic[RowT]):
    """Reads pages of the products that `window` selects."""

    def __init__(
        self, client: StoreClient, window: Params, *, fields: str, row_type: type[RowT], locate: bool
    ) -> None:
        """`locate`: whether to find the places of rows that stay missing."""
        self._client = client
        self._window = window
        self._fields = fields
        self._reader = RecordReader(row_type)
        self._search_requests = _MOST_SEARCH_REQUESTS if locate else 0

    async def read(self, start: int) -> Page[RowT]:
        """The page from `start` on. Raises SourceFailure."""
        answer = await self._ask(start, PER_PAGE)
        for _ in range(_REPEATS):
            if not _missing(start, PER_PAGE, answer):
                break
            again = await self._ask(start, PER_PAGE)
            if _missing(start, PER_PAGE, again) <= _missing(start, PER_PAGE, answer):
                answer = again
        missing = _missing(start, PER_PAGE, answer)
        if missing and self._search_requests > 0:
            try:
                return await self._searched(start, answer)
            except _NotLocated:
                pass
        rows = tuple(enumerate(answer.value.items, start + 1))
        return _page(start, answer, rows, answer.value.blemishes, missing=missing)

    async def _searched(self, start: int, answer: Answer[Records[RowT]]) -> Page[RowT]:
        blemishes: dict[int, tuple[Fault, ...]] = {}
        rows: list[tuple[int, RowT | Broken | None]] = []
        size = min(PER_PAGE, (answer.total or 0) - start)
        await self._search(start, size, answer, rows, blemishes)
        if sum(row is None for _, row in rows) > _missing(start, PER_PAGE, answer):
            # Smaller windows lack what the larger one held: each answer leaves out something else.
            raise _NotLocated
        return _page(start, answer, tuple(rows), blemishes)

    async def _search(
        self,
        start: int,
        size: int,
        whole: Answer[Records[RowT]],
        rows: list[tuple[int, RowT | Broken | None]],
        blemishes: dict[int, tuple[Fault, ...]],
    ) -> None:
        """Halves the window until each row has come, or stands missing at a place of its own."""
        answer = await self._ask_searching(start, size, whole)
        if _missing(start, size, answer) and size == 1:
            # A row that came now and then is not taken for missing by a single answer.
            answer = await self._ask_searching(start, size, whole)
        if not _missing(start, size, answer):
            rows.extend(enumerate(answer.value.items, start + 1))
            blemishes.update(answer.value.blemishes)
        elif size == 1:
            rows.append((start + 1, None))
        else:
            half = size // 2
            await self._search(start, half, whole, rows, blemishes)
            await self._search(start + half, size - half, whole, rows, blemishes)

    async def _ask_searching(self, start: int, size: int, whole: Answer[Records[RowT]]) -> Answer[Records[RowT]]:
        self._search_requests -= 1
        if self._search_requests < 0:
            raise _NotLocated
        answer = await self._ask(start, size)
        if answer.total != whole.total:
            # Places of the one answer mean nothing in the other.
            raise _NotLocated
        return answer

    async def _ask(self, start: int, size: int) -> Answer[Records[RowT]]:
        params = (
            ("offset", str(start)),
            ("per_page", str(size)),
            *_ORDER,
            ("_fields", self._fields),
            *self._window,
        )
        answer = await self._client.get(PRODUCTS, params, self._reader.read)
        ids = [item.id for item in answer.value.items if item.id is not None]
        if ids != sorted(ids):
            raise SourceQueryRefused(self._client.shop, "products do not come in the order of their ids")
        return answer


def _missing(start: int, size: int, answer: Answer[Records[RowT]]) -> int:
    """How many rows fewer than its total says an answer holds."""
    if answer.total is None:
        return 0
    return max(min(size, max(answer.total - start, 0)) - len(answer.value.items), 0)


def _page(
    start: int,
    answer: Answer[Records[RowT]],
    rows: tuple[tuple[int, RowT | Broken | None], ...],
    blemishes: Mapping[int, tuple[Fault, ...]],
    *,
    missing: int = 0,
) -> Page[RowT]:
    return Page(start=start, rows=rows, blemishes=blemishes, total=answer.total, at=answer.at, missing=missing)
