"""Products in the order of their ids, of which no write in between loses any.

The API knows no key to go on from, only offsets, and whatever is trashed before an offset moves the rest forward.
So each page begins with the last product of the one before: when that is not there, we step back until we see
something known. Inserts come at the end, since ids grow.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeAlias

from connector_svc.domain.errors import SourceResponseInvalid
from connector_svc.domain.records import Fault, IssueReason
from connector_svc.platforms.woocommerce.client import Params, StoreClient
from connector_svc.platforms.woocommerce.page import PER_PAGE, PRODUCTS, Page, PageReader
from connector_svc.platforms.woocommerce.record import Broken, RowT
from connector_svc.platforms.woocommerce.wire import PRODUCT_FIELDS, IdRow, ProductRow

__all__ = ["PER_PAGE", "PRODUCTS", "Entry", "IdPager", "Listed", "Pager", "Place", "ProductPager"]
_MOST_IDLE_PAGES: Final = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a pass stands."""

    last_id: int = 0
    """Of the products seen; 0: none."""
    offset: int = 0
    """How many products stood up to and with the last one seen, when it was seen; only a hint later."""


@dataclass(frozen=True, kw_only=True)
class Entry(Generic[RowT]):
    """A product that was not seen before."""

    record: RowT | Broken
    blemishes: tuple[Fault, ...]
    place: Place
    """Right after it."""


Listed: TypeAlias = Entry[ProductRow]


class Pager(Generic[RowT]):
    """Walks once over a list of products, from `place` on."""

    def __init__(self, client: StoreClient, pages: PageReader[RowT], place: Place) -> None:
        self._client = client
        self._pages = pages
        self._last_id = place.last_id
        self._anchor = place.offset
        """The place of the product that the next page begins with."""
        self._seen_to = place.offset
        """The last place whose row was looked at: what has no id is known by its place alone."""
        self._jumps = False
        """Whether the next page begins behind rows of which none can be recognized."""
        self._total: int | None = None
        self.began_at: datetime | None = None
        """The store's clock when it gave the first page; None when it tells no time, or has given none."""
        self.whole = True
        """Whether every row that the store counts was on its page, and had an id."""
        self.steady = True
        """Whether nothing moved while the pages were read: each began where the one before ended, and all told the
        same total."""

    @property
    def total(self) -> int | None:
        """How many products the store counted with the last page; None when it did not tell, or gave none."""
        return self._total

    async def pages(self) -> AsyncGenerator[tuple[Entry[RowT], ...], None]:
        """Yields what is new, page by page, until the store has no more. Raises SourceFailure."""
        idle, over = 0, False
        while not over:
            page = await self._next()
            fresh = self._fresh(page)
            over = page.is_last
            self._jumps = not over and page.last_place <= page.start + 1
            if self._jumps:
                self._anchor = page.start + PER_PAGE
                self.steady = False
            idle = 0 if fresh or self._jumps else idle + 1
            if idle > _MOST_IDLE_PAGES:
                raise SourceResponseInvalid(self._client.shop, "its list of products does not hold still")
            if fresh:
                yield fresh

    async def _next(self) -> Page[RowT]:
        """The next page, beginning at a product already seen."""
        start, step = self._anchor if self._jumps else max(self._anchor - 1, 0), 0
        while True:
            page = await self._pages.read(start)
            first = page.first_id
            if self._jumps or start == 0 or (first is not None and first <= self._last_id):
                self._note(page, anchored=start == 0 or (not step and first == self._last_id))
                return page
            step = step * 2 or self._vanished(page.total)
            start = max(start - step, 0)

    def _note(self, page: Page[RowT], *, anchored: bool) -> None:
        changed = self._total is not None and page.total != self._total
        if changed or page.total is None or page.missing or not anchored:
            self.steady = False
        self.began_at = self.began_at or page.at
        self.whole = self.whole and page.is_whole
        self._total = page.total

    def _vanished(self, total: int | None) -> int:
        """How far to step back first: by as many as went, if the store tells, since most stood before us."""
        return 1 if total is None or self._total is None else max(self._total - total, 1)

    def _fresh(self, page: Page[RowT]) -> tuple[Entry[RowT], ...]:
        fresh: list[Entry[RowT]] = []
        seen_to = self._seen_to
        for place, row in page.rows:
            record = row if row is not None else Broken(id=None, fault=_not_listed(place, self._last_id))
            known = place <= seen_to if record.id is None else record.id <= self._last_id
            if known:
                continue
            self._last_id = self._last_id if record.id is None else record.id
            blemishes = page.blemishes.get(record.id, ()) if record.id is not None else ()
            fresh.append(
                Entry(record=record, blemishes=blemishes, place=Place(last_id=self._last_id, offset=place))
            )
        self._anchor = page.last_place
        self._seen_to = page.rows[-1][0] if page.rows else page.start
        return tuple(fresh)


class ProductPager(Pager[ProductRow]):
    """Reads products whole, or the `fields` of them."""

    def __init__(
        self,
        client: StoreClient,
        window: Params,
        place: Place,
        *,
        fields: str = PRODUCT_FIELDS,
        locate: bool = False,
    ) -> None:
        """`locate`: products that are counted and not listed come as broken records that tell their place."""
        pages = PageReader(client, window, fields=fields, row_type=ProductRow, locate=locate)
        super().__init__(client, pages, place)


class IdPager(Pager[IdRow]):
    """Reads only ids, which costs a store the least."""

    def __init__(self, client: StoreClient, window: Params) -> None:
        pages = PageReader(client, window, fields="id", row_type=IdRow, locate=False)
        super().__init__(client, pages, Place())


def _not_listed(place: int, last_id: int) -> Fault:
    where = f"right after product {last_id}" if last_id else "at its beginning"
    return Fault(
        reason=IssueReason.SOURCE_ERROR,
        message=(
            f"The store counts a product at place {place} of its list (by id, {where}) and does not list it: the "
            "plugin that it needs may be missing, or another one hides it from the user of the API key."
        ),
    )
