"""Deliver products as batches with checkpoints: those of a pass, then those that it missed; or products by id."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Final, TypeAlias

import msgspec

from connector_svc.domain.checkpoint import encode_checkpoint
from connector_svc.domain.fetch import Batch, End, FetchRequest, check_completeness
from connector_svc.domain.product import Product
from connector_svc.domain.records import RecordIssue
from connector_svc.platforms.woocommerce.batch_loader import LoadedBatch, PassStart, load_batches
from connector_svc.platforms.woocommerce.client import Params, StoreClient
from connector_svc.platforms.woocommerce.completion_check import (
    DeliveredIds,
    IdListing,
    build_end,
    counts_prove_complete,
    list_ids,
)
from connector_svc.platforms.woocommerce.parse import ProductParser
from connector_svc.platforms.woocommerce.position import FINGERPRINT, Position
from connector_svc.platforms.woocommerce.product_pager import Cursor, ListedProduct
from connector_svc.platforms.woocommerce.products_by_id import LookupResult, read_products_by_id
from connector_svc.platforms.woocommerce.variations import VariationReader

DeliveredBatch: TypeAlias = tuple[Batch, Position]
"""A batch and the position after it."""
_MAX_LISTED_IDS: Final = 1_000
"""In one batch."""


class ProductDelivery:
    """Delivers whole products for one request."""

    def __init__(
        self,
        request: FetchRequest,
        client: StoreClient,
        clock: Callable[[], datetime],
        filters: Params,
        parser: ProductParser,
    ) -> None:
        """Create a delivery.

        Args:
            filters: Query parameters that select the products of the pass; empty: all.
        """
        self._request = request
        self._client = client
        self._clock = clock
        self._filters = filters
        self._parser = parser

    async def deliver_all(
        self, position: Position, start: PassStart | None = None
    ) -> AsyncGenerator[tuple[Batch | End, Position], None]:
        """Yield the selected products from `position` on, then their end. Raise SourceFailure."""
        delivered = DeliveredIds(after=position.last_id, before=position.received_count)
        async with aclosing(start or PassStart(self._request, self._client, self._clock, position)) as current:
            async for loaded in current.batches:
                batch, position = self._build_batch(loaded, position, loaded.products[-1].cursor)
                for product in loaded.products:
                    if product.record.id is not None and not loaded.group_of(product).is_parent_gone:
                        delivered.add(product.record.id)
                yield batch, position
            pager = current.pager
        if counts_prove_complete(position, pager):
            self._check_undelivered(position)
            yield build_end(position, position.received_count), position
        elif pager.total is None:
            warning = "The store does not report how many products it has."
            yield build_end(position, position.received_count, warning), position
        else:
            async with aclosing(self._deliver_missed(position, delivered)) as missed:
                async for event in missed:
                    yield event

    async def deliver_by_id(self, ids: Sequence[int], position: Position) -> AsyncGenerator[DeliveredBatch, None]:
        """Yield the products with these ids, and which of them the store does not have. Raise SourceFailure."""
        variations = VariationReader(self._client, position.route)
        async with aclosing(read_products_by_id(self._client, ids)) as results:
            async for result in results:
                async with aclosing(self._deliver_result(result, variations, position)) as batches:
                    async for batch, position in batches:
                        yield batch, position
                if result.gone:
                    yield self._make_batch(position, deleted_product_ids=tuple(map(str, result.gone))), position

    async def _deliver_missed(
        self, position: Position, delivered: DeliveredIds
    ) -> AsyncGenerator[tuple[Batch | End, Position], None]:
        """List all ids, deliver the products that were never received, and end."""
        listing = await list_ids(self._client, self._filters)
        earlier = [product_id for product_id in listing.ids if product_id <= delivered.after and not self._filters]
        for ids in _chunks(earlier):
            # These belonged to earlier streams of the pass: only the receiver knows which of them it received.
            yield self._make_batch(position, listed_product_ids=tuple(map(str, ids))), position
        missed = [product_id for product_id in listing.ids if delivered.is_missing(product_id)]
        undecided_count = 0
        variations = VariationReader(self._client, position.route)
        async with aclosing(read_products_by_id(self._client, missed)) as results:
            async for result in results:
                undecided_count += len(result.undecided)
                # Products with higher ids than the last page were created meanwhile. `last_id` moves past them, or
                # a resumed pass would deliver them again; but not past a product that could not be read.
                moves_cursor = not undecided_count
                async with aclosing(
                    self._deliver_result(result, variations, position, moves_cursor=moves_cursor)
                ) as batches:
                    async for batch, position in batches:
                        yield batch, position
        yield self._build_end_after_missed(position, listing, delivered, undecided_count), position

    def _build_end_after_missed(
        self, position: Position, listing: IdListing, delivered: DeliveredIds, undecided_count: int
    ) -> End:
        warnings: list[str] = []
        earlier_count = sum(product_id <= delivered.after for product_id in listing.ids)
        if not self._filters and earlier_count > delivered.before:
            added_count = earlier_count - delivered.before
            warnings.append(f"Products added or restored while the pass ran: {added_count}.")
        if undecided_count:
            warnings.append(f"Products that are listed and cannot be read: {undecided_count}.")
        source_count = min(len(listing.ids) + position.missing_id_count, position.received_count)
        unlisted_count = max(listing.unlisted_count - position.missing_id_count, 0)
        self._check_undelivered(position, unlisted_count)
        return build_end(position, source_count, *warnings, unlisted_count=unlisted_count)

    def _check_undelivered(self, position: Position, unlisted_count: int = 0) -> None:
        """Raise SourceCountMismatch when too many products are counted and not delivered."""
        check_completeness(
            self._request.shop,
            counted=position.received_count + unlisted_count,
            undelivered=position.missing_id_count + unlisted_count,
        )

    async def _deliver_result(
        self, result: LookupResult, variations: VariationReader, position: Position, *, moves_cursor: bool = False
    ) -> AsyncGenerator[DeliveredBatch, None]:
        pages = _single_page(result.products)
        async with aclosing(load_batches(pages, variations, self._request.max_batch_products)) as batches:
            async for loaded in batches:
                reached = (loaded.products[-1].record.id or 0) if moves_cursor else 0
                cursor = Cursor(last_id=max(reached, position.last_id), offset=position.offset)
                batch, position = self._build_batch(loaded, position, cursor)
                yield batch, position

    def _build_batch(self, loaded: LoadedBatch, position: Position, cursor: Cursor) -> DeliveredBatch:
        """Parse the products; `cursor` is where the pass continues after them."""
        products: list[Product] = []
        issues: list[RecordIssue] = []
        rejected_count = missing_id_count = 0
        for listed in loaded.products:
            group = loaded.group_of(listed)
            if group.is_parent_gone:
                continue
            parsed = self._parser.parse(listed.record, group, listed.field_faults)
            issues += parsed.issues
            if parsed.product is not None:
                products.append(parsed.product)
            else:
                rejected_count += 1
                missing_id_count += listed.record.id is None
        item_count = sum(len(product.variants) for product in products)
        after = msgspec.structs.replace(
            position,
            last_id=cursor.last_id,
            offset=cursor.offset,
            counts=position.counts.plus(emitted=len(products), emitted_items=item_count, rejected=rejected_count),
            missing_id_count=position.missing_id_count + missing_id_count,
        )
        return self._make_batch(after, products=tuple(products), issues=tuple(issues)), after

    def _make_batch(
        self,
        position: Position,
        *,
        products: tuple[Product, ...] = (),
        issues: tuple[RecordIssue, ...] = (),
        listed_product_ids: tuple[str, ...] = (),
        deleted_product_ids: tuple[str, ...] = (),
    ) -> Batch:
        return Batch(
            products=products,
            checkpoint=encode_checkpoint(self._request, fingerprint=FINGERPRINT, position=position),
            issues=issues,
            listed_product_ids=listed_product_ids,
            deleted_product_ids=deleted_product_ids,
        )


def _chunks(ids: Sequence[int]) -> list[Sequence[int]]:
    return [ids[start : start + _MAX_LISTED_IDS] for start in range(0, len(ids), _MAX_LISTED_IDS)]


async def _single_page(page: tuple[ListedProduct, ...]) -> AsyncIterator[tuple[ListedProduct, ...]]:
    if page:
        yield page
