"""Product reads: keyset pages in the order of ids, and single products by id.

Each page requests the ids above the last id seen, so that products created or deleted during the pass do not shift
it. Variants and images are included; products with missing variants are completed before they are returned.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from connector_svc.domain.errors import SourceCountMismatch, SourceQueryRefused, SourceResponseInvalid
from connector_svc.platforms.bigcommerce.client import PRODUCTS_PATH, ResponseTooLarge, StoreClient
from connector_svc.platforms.bigcommerce.error_mapping import unlisted_product, unreadable_product
from connector_svc.platforms.bigcommerce.inventory import InventoryReader
from connector_svc.platforms.bigcommerce.record_salvage import (
    ListedProduct,
    ProductListing,
    RejectedRecord,
    decode_products,
    id_of,
)
from connector_svc.platforms.bigcommerce.variant_drain import VariantDrain
from connector_svc.platforms.bigcommerce.wire import IdList

MAX_PAGE_SIZE: Final = 250
"""BigCommerce's limit; with options or modifiers included it would be 10."""
IDS_PER_CALL: Final = 100
"""BigCommerce accepts any number of ids and returns 250 products; fewer keep the response and the URL small."""
_MAX_ATTEMPTS: Final = 2
"""For a page with fewer products than it counts, before the page size is reduced."""
_INCOMPLETE_PAGE_DIVISOR: Final = 4
"""Divides the page size after _MAX_ATTEMPTS incomplete pages."""
_TARGET_VARIANTS_PER_PAGE: Final = 2_500
"""About 2 MB of JSON."""
_ID_LIST_DECODER: Final = msgspec.json.Decoder(IdList)


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Products that were not seen before."""

    records: tuple[ListedProduct | RejectedRecord, ...]
    last_id: int
    """The next page begins after this id."""
    is_last: bool


class ProductPages:
    """Reads the products after `last_id` once, page by page, with at most two pages in memory."""

    def __init__(
        self, client: StoreClient, inventory: InventoryReader, *, last_id: int, page_size: int = MAX_PAGE_SIZE
    ) -> None:
        self._client = client
        self._inventory = inventory
        self._variant_drain = VariantDrain(client)
        self._last_id = last_id
        self._max_page_size = self._page_size = page_size

    async def read(self) -> AsyncGenerator[Page, None]:
        """Yield pages until the store has no more; the next page is prefetched. Raises SourceFailure."""
        next_page = asyncio.create_task(self._load(self._last_id))
        try:
            while True:
                page = await next_page
                if not page.is_last:
                    next_page = asyncio.create_task(self._load(page.last_id))
                yield page
                if page.is_last:
                    return
        finally:
            next_page.cancel()
            await asyncio.gather(next_page, return_exceptions=True)

    async def _load(self, last_id: int) -> Page:
        page = await self._read_page(last_id)
        products = [record for record in page.records if isinstance(record, ListedProduct)]
        await self._variant_drain.complete(products)
        await self._inventory.add_stock(products)
        return page

    async def _read_page(self, last_id: int) -> Page:
        """Read the products after `last_id`, with an adaptive page size.

        The page size is reduced for a response that is too large or has fewer products than it counts, and grows
        again afterwards. A page is accepted when it is full or has as many products as the same response counts
        after `last_id`. Only such a page proves that no product before its end is missing, whatever was deleted in
        the meantime.
        """
        attempts = 0
        while True:
            try:
                response = await self._client.get(
                    PRODUCTS_PATH, self._params(last_id), decode_products, raise_too_large=True
                )
            except ResponseTooLarge as error:
                if self._page_size == 1:
                    return self._to_page(await self._unreadable_product(last_id, error), last_id)
                self._page_size = max(self._page_size // 2, 1)
                continue
            if self._is_complete(response.value):
                self._page_size = min(self._page_size * 2, self._max_page_size)
                return self._to_page(response.value, last_id)
            attempts += 1
            if attempts < _MAX_ATTEMPTS:
                await self._client.wait_before_retry()
            elif self._page_size == 1:
                return await self._read_past_unlisted(last_id)
            else:
                self._page_size, attempts = max(self._page_size // _INCOMPLETE_PAGE_DIVISOR, 1), 0

    def _is_complete(self, listing: ProductListing) -> bool:
        limit = min(self._page_size, listing.per_page or self._page_size)
        return len(listing.items) >= min(limit, listing.total)

    def _to_page(self, listing: ProductListing, last_id: int) -> Page:
        """Raise SourceQueryRefused when order or filter were ignored: the following pages would have gaps."""
        ids = [number for number in map(id_of, listing.items) if number is not None]
        if ids != sorted(ids) or (ids and ids[0] <= last_id):
            raise SourceQueryRefused(self._client.shop, "products are not sorted by id")
        is_last = listing.total <= len(listing.items) or not listing.items
        if is_last:
            return Page(records=listing.items, last_id=max([last_id, *ids]), is_last=True)
        if not ids:
            raise SourceResponseInvalid(self._client.shop, "no product of the page has a usable id")
        # Records without an id at the end of a page are returned again at the beginning of the next page.
        end = max(place for place, item in enumerate(listing.items) if id_of(item) is not None) + 1
        return Page(records=listing.items[:end], last_id=ids[-1], is_last=False)

    async def _read_past_unlisted(self, last_id: int) -> Page:
        """Read on after `last_id` when the store counts a product there and does not list it.

        Raises SourceCountMismatch when the store lists no product and counts more than a page of them.
        """
        listing = (
            await self._client.get(PRODUCTS_PATH, self._id_params(last_id, MAX_PAGE_SIZE), _ID_LIST_DECODER.decode)
        ).value
        if not listing.data:
            total = listing.meta.pagination.total
            if total > MAX_PAGE_SIZE:
                raise SourceCountMismatch(self._client.shop, expected=total, received=0)
            return Page(records=_unlisted_records(total), last_id=last_id, is_last=True)
        first = listing.data[0].id
        if first <= last_id:
            raise SourceQueryRefused(self._client.shop, "products are not sorted by id")
        params = (("id:less", str(first)), *self._id_params(last_id))
        counted = (await self._client.get(PRODUCTS_PATH, params, _ID_LIST_DECODER.decode)).value
        if counted.meta.pagination.total:
            # In one page with the products after them, so that a later checkpoint has counted them.
            unlisted = _unlisted_records(min(counted.meta.pagination.total, MAX_PAGE_SIZE))
            rest = await self._read_page(first - 1)
            return Page(records=unlisted + rest.records, last_id=rest.last_id, is_last=rest.is_last)
        found = await read_by_id(self._client, [first])
        records = found.records
        if not records and not found.is_complete:
            records = (RejectedRecord(id=first, fault=unlisted_product(), is_unlisted=True),)
        return Page(records=records, last_id=first, is_last=False)

    async def _unreadable_product(self, last_id: int, error: ResponseTooLarge) -> ProductListing:
        """Return the next product as rejected if the store lists its id; else raise the cause of `error`."""
        listing = (await self._client.get(PRODUCTS_PATH, self._id_params(last_id), _ID_LIST_DECODER.decode)).value
        if not listing.data:
            raise error.__cause__ or error
        return ProductListing(
            items=tuple(RejectedRecord(id=row.id, fault=unreadable_product()) for row in listing.data),
            total=listing.meta.pagination.total,
        )

    def _params(self, last_id: int, limit: int = 0) -> tuple[tuple[str, str], ...]:
        return (
            ("include", "variants,images"),
            ("sort", "id"),
            ("direction", "asc"),
            ("limit", str(limit or self._page_size)),
            ("id:greater", str(last_id)),
        )

    def _id_params(self, last_id: int, limit: int = 1) -> tuple[tuple[str, str], ...]:
        return (*self._params(last_id, limit)[1:], ("include_fields", "id"))


def _unlisted_records(count: int) -> tuple[RejectedRecord, ...]:
    """Return `count` rejected records without ids."""
    return tuple(RejectedRecord(id=None, fault=unlisted_product(), is_unlisted=True) for _ in range(count))


def initial_page_size(products: int | None, variants: int | None) -> int:
    """Return a page size with about _TARGET_VARIANTS_PER_PAGE variants in a page, from 10 to MAX_PAGE_SIZE."""
    if not products or not variants:
        return MAX_PAGE_SIZE
    return min(max(_TARGET_VARIANTS_PER_PAGE * products // variants, 10), MAX_PAGE_SIZE)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProductsById:
    """The store's response to a request for some ids."""

    records: tuple[ListedProduct | RejectedRecord, ...]
    """In the order of ids."""
    is_complete: bool
    """Whether the response contains every product that it counts, each with an id."""

    @property
    def ids(self) -> set[int]:
        return {number for number in map(id_of, self.records) if number is not None}


async def read_by_id(client: StoreClient, ids: Sequence[int]) -> ProductsById:
    """Read the products of `ids` (at most IDS_PER_CALL) that the store has. Raises SourceFailure."""
    params = (
        ("include", "variants,images"),
        ("sort", "id"),
        ("direction", "asc"),
        ("limit", str(IDS_PER_CALL)),
        ("id:in", ",".join(map(str, ids))),
    )
    try:
        listing = (await client.get(PRODUCTS_PATH, params, decode_products, raise_too_large=True)).value
    except ResponseTooLarge:
        return await _read_halves(client, ids)
    with_id = sorted((one for one in listing.items if id_of(one) is not None), key=lambda one: id_of(one) or 0)
    found = ProductsById(
        records=tuple(with_id),
        is_complete=len(with_id) == len(listing.items) >= listing.total,
    )
    if not found.ids.issubset(ids):
        raise SourceQueryRefused(client.shop, "products other than the requested ones were returned")
    return found


async def _read_halves(client: StoreClient, ids: Sequence[int]) -> ProductsById:
    if len(ids) == 1:
        return ProductsById(records=(RejectedRecord(id=ids[0], fault=unreadable_product()),), is_complete=True)
    middle = len(ids) // 2
    first, second = await read_by_id(client, ids[:middle]), await read_by_id(client, ids[middle:])
    return ProductsById(
        records=first.records + second.records, is_complete=first.is_complete and second.is_complete
    )
