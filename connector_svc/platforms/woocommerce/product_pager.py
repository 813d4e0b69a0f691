"""Page through products in the order of their ids without losing any to concurrent writes.

The API has offsets only, no keyset pagination, and each product trashed before an offset shifts the rest forward.
So each page starts with the last product of the page before (the anchor): when the anchor is not there, the pager
steps back until a known product appears. New products come at the end, since ids grow.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeAlias

from connector_svc.domain.errors import SourceResponseInvalid
from connector_svc.domain.records import Fault, IssueReason
from connector_svc.platforms.woocommerce.client import Params, StoreClient
from connector_svc.platforms.woocommerce.json_salvage import RejectedRecord, RowT
from connector_svc.platforms.woocommerce.page_reader import ListPage, PageReader
from connector_svc.platforms.woocommerce.wire import PER_PAGE, PRODUCT_FIELDS, IdRow, ProductRow

_MAX_PAGES_WITHOUT_NEW_ROWS: Final = 50
_SECOND: Final = timedelta(seconds=1)
_EARLIEST: Final = datetime(1970, 1, 2, tzinfo=UTC)
"""Before all products; stores accept no years with fewer than four digits."""


def modified_since(moment: datetime | None) -> Params:
    """Return the query parameters for products modified at `moment` or later; None: all products.

    Stores compare whole seconds and exclude the bound, so the bound is one second earlier. The time has no zone:
    with one a store takes the time for local time and misses hours of changes.
    """
    if moment is None:
        return ()
    bound = (max(moment, _EARLIEST) - _SECOND).astimezone(UTC)
    return (("modified_after", bound.strftime("%Y-%m-%dT%H:%M:%S")), ("dates_are_gmt", "true"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Cursor:
    """Where a pager stands in the list."""

    last_id: int = 0
    """Highest id seen; 0: none."""
    offset: int = 0
    """Number of products up to and including that one when it was read; only a hint later."""


@dataclass(frozen=True, kw_only=True)
class ListedRecord(Generic[RowT]):
    """A record that the pager has not seen before."""

    record: RowT | RejectedRecord
    field_faults: tuple[Fault, ...]
    cursor: Cursor
    """Right after the record."""


ListedProduct: TypeAlias = ListedRecord[ProductRow]


class Pager(Generic[RowT]):
    """Reads a list of products once, from a cursor to the end."""

    def __init__(self, client: StoreClient, pages: PageReader[RowT], cursor: Cursor) -> None:
        self._client = client
        self._pages = pages
        self._last_id = cursor.last_id
        self._anchor = cursor.offset
        """Place of the product that the next page starts with."""
        self._last_place = cursor.offset
        """Last place that was read: a row without an id is identified by its place alone."""
        self._skips_anchor = False
        """Whether the next page starts behind rows of which none can be recognized."""
        self._total: int | None = None
        self.began_at: datetime | None = None
        """The store's clock at the first page; None: no page yet, or no date in the response."""
        self.is_complete = True
        """Whether every row that the store counts was on its page and had an id."""
        self.is_steady = True
        """Whether nothing moved while the pages were read: each started where the one before ended, and all had
        the same total."""

    @property
    def total(self) -> int | None:
        """Length of the list according to the last page; None: no page yet, or the store does not report it."""
        return self._total

    async def pages(self) -> AsyncGenerator[tuple[ListedRecord[RowT], ...], None]:
        """Yield the new records page by page until the list ends. Raise SourceFailure."""
        pages_without_new_rows, is_over = 0, False
        while not is_over:
            page = await self._read_next_page()
            new = self._new_records(page)
            is_over = page.is_last
            self._skips_anchor = not is_over and page.last_place <= page.start + 1
            if self._skips_anchor:
                self._anchor = page.start + PER_PAGE
                self.is_steady = False
            pages_without_new_rows = 0 if new or self._skips_anchor else pages_without_new_rows + 1
            if pages_without_new_rows > _MAX_PAGES_WITHOUT_NEW_ROWS:
                raise SourceResponseInvalid(self._client.shop, "the list of products changes at every request")
            if new:
                yield new

    async def _read_next_page(self) -> ListPage[RowT]:
        """Read the next page, which starts with a known product."""
        start, step = self._anchor if self._skips_anchor else max(self._anchor - 1, 0), 0
        while True:
            page = await self._pages.read(start)
            first_id = page.first_id
            if self._skips_anchor or start == 0 or (first_id is not None and first_id <= self._last_id):
                self._record_page(page, anchored=start == 0 or (not step and first_id == self._last_id))
                return page
            step = step * 2 or self._first_step_back(page.total)
            start = max(start - step, 0)

    def _record_page(self, page: ListPage[RowT], *, anchored: bool) -> None:
        total_changed = self._total is not None and page.total != self._total
        if total_changed or page.total is None or page.missing or not anchored:
            self.is_steady = False
        self.began_at = self.began_at or page.at
        self.is_complete = self.is_complete and page.is_complete
        self._total = page.total

    def _first_step_back(self, total: int | None) -> int:
        """Return how many products are gone, if the store reports it: most of them stood before the anchor."""
        return 1 if total is None or self._total is None else max(self._total - total, 1)

    def _new_records(self, page: ListPage[RowT]) -> tuple[ListedRecord[RowT], ...]:
        new: list[ListedRecord[RowT]] = []
        last_place = self._last_place
        for place, row in page.rows:
            record = row if row is not None else RejectedRecord(id=None, fault=_not_listed(place, self._last_id))
            is_known = place <= last_place if record.id is None else record.id <= self._last_id
            if is_known:
                continue
            self._last_id = self._last_id if record.id is None else record.id
            field_faults = page.field_faults.get(record.id, ()) if record.id is not None else ()
            cursor = Cursor(last_id=self._last_id, offset=place)
            new.append(ListedRecord(record=record, field_faults=field_faults, cursor=cursor))
        self._anchor = page.last_place
        self._last_place = page.rows[-1][0] if page.rows else page.start
        return tuple(new)


class ProductPager(Pager[ProductRow]):
    """Pages through products, whole or with the given `fields` only."""

    def __init__(
        self,
        client: StoreClient,
        filters: Params,
        cursor: Cursor,
        *,
        fields: str = PRODUCT_FIELDS,
        locate_missing: bool = False,
    ) -> None:
        """Create a pager.

        Args:
            filters: Query parameters that select products; empty: all.
            locate_missing: Yield products that are counted and not listed as rejected records with their place.
        """
        pages = PageReader(client, filters, fields=fields, row_type=ProductRow, locate_missing=locate_missing)
        super().__init__(client, pages, cursor)


class IdPager(Pager[IdRow]):
    """Pages through ids only, which costs a store the least."""

    def __init__(self, client: StoreClient, filters: Params) -> None:
        pages = PageReader(client, filters, fields="id", row_type=IdRow, locate_missing=False)
        super().__init__(client, pages, Cursor())


def _not_listed(place: int, last_id: int) -> Fault:
    neighbour = f"right after product {last_id}" if last_id else "at its start"
    return Fault(
        reason=IssueReason.SOURCE_ERROR,
        message=(
            f"The store counts a product at place {place} of its list (by id, {neighbour}) and does not list it: "
            "its plugin may be missing, or another plugin hides it from the user of the API key."
        ),
    )
