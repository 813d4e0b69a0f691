"""Detects deleted products after an incremental pass: by a listing of all ids and by Shopify's event log."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta

import msgspec

from connector_svc.domain.errors import SourceForbidden
from connector_svc.domain.fetch import Batch
from connector_svc.platforms.shopify.batch_builder import BatchBuilder
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.error_mapping import InvalidCursor
from connector_svc.platforms.shopify.pages import IdListing, PageCursor
from connector_svc.platforms.shopify.position import DeletionPosition
from connector_svc.platforms.shopify.queries import (
    EXISTING_PRODUCTS,
    PAGE_PRODUCTS,
    PRODUCT_COUNT,
    PRODUCT_DELETIONS,
    deleted_between,
    ids_after,
)
from connector_svc.platforms.shopify.wire import (
    CountData,
    EventNode,
    EventsData,
    IdNode,
    ListData,
    numeric_id,
    product_gid,
)

_log = logging.getLogger(__name__)

MAX_LISTED_PRODUCTS = 25_000
"""Up to this size all ids are listed: 13 points per 250 then cost less than the smallest bucket holds."""

_EXISTENCE_CHECKS = 2
"""How often a product is requested before it counts as deleted."""
_COUNT = msgspec.json.Decoder(CountData)
_EVENTS = msgspec.json.Decoder(EventsData)
_NODES = msgspec.json.Decoder(ListData[IdNode | None])


class DeletionDetection:
    """Continues at the builder's position, and moves it.

    An event alone is not trusted: a product that it reports as deleted must not exist when requested by id, nor
    have been listed before. Deletions may be concluded from the listing only when it has as many ids as Shopify
    counts.
    """

    def __init__(
        self, client: ShopifyClient, builder: BatchBuilder, *, after: datetime, retry_delay: timedelta
    ) -> None:
        self._client = client
        self._builder = builder
        self._after = after
        self._id_listing = IdListing(client, max_page_size=PAGE_PRODUCTS, retry_delay=retry_delay)
        self._listed_ids: set[str] = set()

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield batches without products: listed ids, then deleted ids. Raises SourceFailure."""
        async with aclosing(self._list_ids()) as batches:
            async for batch in batches:
                yield batch
        try:
            async with aclosing(self._read_events()) as batches:
                async for batch in batches:
                    yield batch
        except SourceForbidden:
            _log.warning("Shopify does not allow us to read events", extra={"shop": str(self._client.shop)})

    @property
    def _position(self) -> DeletionPosition:
        return self._builder.position.deletion_detection or DeletionPosition()

    async def _list_ids(self) -> AsyncGenerator[Batch, None]:
        """List all ids, again until they are as many as Shopify counts or no more are found."""
        count = await self._count()
        while count <= MAX_LISTED_PRODUCTS and not self._position.all_listed:
            listed_before = self._position.listed_count
            cursor = PageCursor(ids_after(self._position.last_listed_id, None))
            has_next = True
            while has_next:
                page = await self._id_listing.load(cursor)
                cursor, has_next = page.end, page.has_next
                if page.gids:
                    yield self._listed_batch(page.gids)
            count = await self._count()
            if self._position.listed_count >= count:
                self._checkpoint(all_listed=True)
            elif self._position.listed_count == listed_before:
                _log.info("fewer products were listed than counted", extra={"shop": str(self._client.shop)})
                return

    def _listed_batch(self, gids: Sequence[str]) -> Batch:
        product_ids = [product_id for gid in gids if (product_id := numeric_id(gid, "Product"))]
        new = [product_id for product_id in product_ids if int(product_id) > self._position.last_listed_id]
        self._listed_ids.update(new)
        last = max((int(product_id) for product_id in new), default=self._position.last_listed_id)
        checkpoint = self._checkpoint(last_listed_id=last, listed_count=self._position.listed_count + len(new))
        return Batch(products=(), checkpoint=checkpoint, listed_product_ids=tuple(new))

    async def _read_events(self) -> AsyncGenerator[Batch, None]:
        search = deleted_between(self._after, self._builder.position.watermark)
        query = ids_after(self._position.last_event_id, search)
        after: str | None = None
        while True:
            variables = {"first": PAGE_PRODUCTS, "after": after, "query": query}
            try:
                response = await self._client.call_or_fail(PRODUCT_DELETIONS, variables)
            except InvalidCursor:
                if after is None:
                    raise
                query, after = ids_after(self._position.last_event_id, search), None
                continue
            events = self._client.decode(response, _EVENTS).events
            if events.nodes:
                deleted = await self._deleted_ids(events.nodes)
                checkpoint = self._checkpoint(last_event_id=max(map(_event_id, events.nodes)))
                yield Batch(products=(), checkpoint=checkpoint, deleted_product_ids=deleted)
            if not events.page_info.has_next_page or events.page_info.end_cursor in {None, after}:
                return
            after = events.page_info.end_cursor

    async def _deleted_ids(self, events: Sequence[EventNode]) -> tuple[str, ...]:
        """Return the ids that the events report as deleted and that do not exist."""
        reported = dict.fromkeys(product_id for event in events if (product_id := event.deleted_product_id))
        deleted = [product_id for product_id in reported if product_id not in self._listed_ids]
        for _ in range(_EXISTENCE_CHECKS):
            deleted = await self._nonexistent(deleted) if deleted else []
        return tuple(deleted)

    async def _nonexistent(self, product_ids: Sequence[str]) -> list[str]:
        gids = [product_gid(product_id) for product_id in product_ids]
        response = await self._client.call_or_fail(EXISTING_PRODUCTS, {"ids": gids})
        nodes = self._client.decode(response, _NODES).nodes
        if len(nodes) != len(product_ids):
            return []
        existing = {numeric_id(node.id, "Product") for node in nodes if node is not None}
        return [product_id for product_id in product_ids if product_id not in existing]

    async def _count(self) -> int:
        response = await self._client.call_or_fail(PRODUCT_COUNT, {"query": None})
        return self._client.decode(response, _COUNT).products_count.count

    def _checkpoint(self, **changes: int | bool) -> bytes:
        return self._builder.checkpoint(deletion_detection=msgspec.structs.replace(self._position, **changes))


def _event_id(event: EventNode) -> int:
    number = event.id.rpartition("/")[2]
    return int(number) if number.isascii() and number.isdigit() else 0
