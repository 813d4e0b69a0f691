"""Read one page of the product list, and locate the rows that a store counts but does not list.

Some products are counted and never listed: their plugin is missing, or another plugin hides them from the API
key's user. Some rows are left out of one response only, under load. Both look alike at first: a page has fewer
rows than its total says. So a short page is requested again, and then searched by bisection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic

from connector_svc.domain.errors import SourceQueryRefused
from connector_svc.domain.records import Fault
from connector_svc.platforms.woocommerce.client import Params, StoreClient, StoreResponse
from connector_svc.platforms.woocommerce.json_salvage import DecodedRecords, RecordDecoder, RejectedRecord, RowT
from connector_svc.platforms.woocommerce.wire import ORDER_BY_ID, PER_PAGE, PRODUCTS_PATH

_MAX_REPEATS: Final = 3
"""Repeated requests for a short page."""
_MAX_SEARCH_REQUESTS: Final = 300
"""Requests per list to locate rows: about 20 for an isolated row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListPage(Generic[RowT]):
    """The rows at offsets `start` to `start + PER_PAGE`."""

    start: int
    rows: tuple[tuple[int, RowT | RejectedRecord | None], ...]
    """Each with its place in the list, counted from 1; None: the product at that place is not listed.

    Where `missing` is not 0, places may be too low.
    """
    field_faults: Mapping[int, tuple[Fault, ...]]
    """See `DecodedRecords`."""
    total: int | None
    """Length of the list; None: the store does not report it."""
    at: datetime | None
    """The store's clock."""
    missing: int = 0
    """Number of rows that are counted, not listed, and not located either."""

    @property
    def first_id(self) -> int | None:
        """Id of the first row that has one."""
        return next((record.id for _, record in self.rows if record is not None and record.id is not None), None)

    @property
    def last_place(self) -> int:
        """Place of the last row that has an id; 0: none."""
        places = (place for place, record in self.rows if record is not None and record.id is not None)
        return max(places, default=0)

    @property
    def is_last(self) -> bool:
        """Whether this is the last page.

        Without a total that is a page that is not full; with one, a page that is not full may just lack rows.
        """
        if self.total is None:
            return len(self.rows) < PER_PAGE
        return self.start + PER_PAGE >= self.total

    @property
    def is_complete(self) -> bool:
        """Whether every row that the store counts is listed and has an id."""
        if self.total is None or self.missing:
            return False
        return all(record is not None and record.id is not None for _, record in self.rows)


class _NotLocated(Exception):
    """The list changed during the search, or the search takes too many requests."""


class PageReader(Generic[RowT]):
    """Reads pages of the products that `filters` select."""

    def __init__(
        self, client: StoreClient, filters: Params, *, fields: str, row_type: type[RowT], locate_missing: bool
    ) -> None:
        """Create a reader.

        Args:
            filters: Query parameters that select products; empty: all.
            locate_missing: Whether to search for the places of rows that stay missing.
        """
        self._client = client
        self._filters = filters
        self._fields = fields
        self._decoder = RecordDecoder(row_type)
        self._search_requests_left = _MAX_SEARCH_REQUESTS if locate_missing else 0

    async def read(self, start: int) -> ListPage[RowT]:
        """Read the page at offset `start`. Raise SourceFailure."""
        response = await self._request(start, PER_PAGE)
        for _ in range(_MAX_REPEATS):
            if not _count_missing(start, PER_PAGE, response):
                break
            repeated = await self._request(start, PER_PAGE)
            if _count_missing(start, PER_PAGE, repeated) <= _count_missing(start, PER_PAGE, response):
                response = repeated
        missing = _count_missing(start, PER_PAGE, response)
        if missing and self._search_requests_left > 0:
            try:
                return await self._locate_missing(start, response)
            except _NotLocated:
                pass
        rows = tuple(enumerate(response.value.items, start + 1))
        return _page(start, response, rows, response.value.field_faults, missing=missing)

    async def _locate_missing(self, start: int, response: StoreResponse[DecodedRecords[RowT]]) -> ListPage[RowT]:
        field_faults: dict[int, tuple[Fault, ...]] = {}
        rows: list[tuple[int, RowT | RejectedRecord | None]] = []
        size = min(PER_PAGE, (response.total or 0) - start)
        await self._bisect(start, size, response, rows, field_faults)
        if sum(row is None for _, row in rows) > _count_missing(start, PER_PAGE, response):
            # Smaller ranges lack rows that the whole page has: each response leaves out different rows.
            raise _NotLocated
        return _page(start, response, tuple(rows), field_faults)

    async def _bisect(
        self,
        start: int,
        size: int,
        page: StoreResponse[DecodedRecords[RowT]],
        rows: list[tuple[int, RowT | RejectedRecord | None]],
        field_faults: dict[int, tuple[Fault, ...]],
    ) -> None:
        """Halve the range until each row is either read, or known to be missing at a place of its own."""
        response = await self._request_for_search(start, size, page)
        if _count_missing(start, size, response) and size == 1:
            # A row that is listed only now and then must not count as missing because of one response.
            response = await self._request_for_search(start, size, page)
        if not _count_missing(start, size, response):
            rows.extend(enumerate(response.value.items, start + 1))
            field_faults.update(response.value.field_faults)
        elif size == 1:
            rows.append((start + 1, None))
        else:
            half = size // 2
            await self._bisect(start, half, page, rows, field_faults)
            await self._bisect(start + half, size - half, page, rows, field_faults)

    async def _request_for_search(
        self, start: int, size: int, page: StoreResponse[DecodedRecords[RowT]]
    ) -> StoreResponse[DecodedRecords[RowT]]:
        self._search_requests_left -= 1
        if self._search_requests_left < 0:
            raise _NotLocated
        response = await self._request(start, size)
        if response.total != page.total:
            # Places of one response mean nothing in the other.
            raise _NotLocated
        return response

    async def _request(self, start: int, size: int) -> StoreResponse[DecodedRecords[RowT]]:
        params = (
            ("offset", str(start)),
            ("per_page", str(size)),
            *ORDER_BY_ID,
            ("_fields", self._fields),
            *self._filters,
        )
        response = await self._client.get(PRODUCTS_PATH, params, self._decoder.decode)
        ids = [item.id for item in response.value.items if item.id is not None]
        if ids != sorted(ids):
            raise SourceQueryRefused(self._client.shop, "products are not listed in the order of their ids")
        return response


def _count_missing(start: int, size: int, response: StoreResponse[DecodedRecords[RowT]]) -> int:
    """Return how many rows fewer than its total says a response has."""
    if response.total is None:
        return 0
    return max(min(size, max(response.total - start, 0)) - len(response.value.items), 0)


def _page(
    start: int,
    response: StoreResponse[DecodedRecords[RowT]],
    rows: tuple[tuple[int, RowT | RejectedRecord | None], ...],
    field_faults: Mapping[int, tuple[Fault, ...]],
    *,
    missing: int = 0,
) -> ListPage[RowT]:
    return ListPage(
        start=start,
        rows=rows,
        field_faults=field_faults,
        total=response.total,
        at=response.at,
        missing=missing,
    )
