"""Finds out, after an incremental pass, which products are gone: by a listing of all ids and by the event log."""

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
from connector_svc.platforms.shopify.error_mapping import (
    InvalidCursor,
    MaxCostExceeded,
    ShopifyInternalError,
    internal_error,
)
from connector_svc.platforms.shopify.graphql_response import GraphqlResponse
from connector_svc.platforms.shopify.pages import IdListing, PageCursor
from connector_svc.platforms.shopify.position import DeletionPosition
from connector_svc.platforms.shopify.queries import (
    EXISTING_PRODUCTS,
    PAGE_PRODUCTS,
    PRODUCT_COUNT,
    PRODUCT_DELETIONS,
    Query,
    Variables,
    behind,
    deleted_between,
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
"""Products up to which all ids are listed: 13 points per 250 then cost less than the smallest bucket holds."""

_QUESTIONS = 2
"""So often a product is asked for before it counts as gone."""
_COUNT = msgspec.json.Decoder(CountData)
_EVENTS = msgspec.json.Decoder(EventsData)
_NODES = msgspec.json.Decoder(ListData[IdNode | None])


class DeletionDetection:
    """Goes on where the position of `tally` stands, and moves it.

    An event alone is not believed: what it says is gone must not be there when asked for by its id, nor have been
    listed before. The listing may be concluded from only when as many ids came as the platform counts.
    """

    def __init__(self, client: ShopifyClient, tally: BatchBuilder, *, after: datetime, pause: timedelta) -> None:
        self._client = client
        self._tally = tally
        self._after = after
        self._sweep = IdListing(client, largest=PAGE_PRODUCTS, pause=pause)
        self._seen: set[str] = set()

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Batches without products. Raises SourceFailure."""
        async with aclosing(self._listing()) as listing:
            async for batch in listing:
                yield batch
        try:
            async with aclosing(self._deletions()) as deletions:
                async for batch in deletions:
                    yield batch
        except SourceForbidden:
            _log.warning("Shopify keeps its events from us", extra={"shop": str(self._client.shop)})

    @property
    def _at(self) -> DeletionPosition:
        return self._tally.position.departures or DeletionPosition()

    async def _listing(self) -> AsyncGenerator[Batch, None]:
        count = await self._count()
        while count <= MAX_LISTED_PRODUCTS and not self._at.all_listed:
            before = self._at.listed
            place = PageCursor(behind(self._at.listed_id, None))
            has_next = True
            while has_next:
                swept = await self._sweep.load(place)
                place, has_next = swept.end, swept.has_next
                if swept.gids:
                    yield self._listed(swept.gids)
            count = await self._count()
            if self._at.listed >= count:
                self._move(all_listed=True)
            elif self._at.listed == before:
                _log.info("fewer products were listed than counted", extra={"shop": str(self._client.shop)})
                return

    def _listed(self, gids: Sequence[str]) -> Batch:
        numbers = [number for gid in gids if (number := numeric_id(gid, "Product"))]
        fresh = [number for number in numbers if int(number) > self._at.listed_id]
        self._seen.update(fresh)
        last = max((int(number) for number in fresh), default=self._at.listed_id)
        checkpoint = self._move(listed_id=last, listed=self._at.listed + len(fresh))
        return Batch(products=(), checkpoint=checkpoint, listed_product_ids=tuple(fresh))

    async def _deletions(self) -> AsyncGenerator[Batch, None]:
        search = deleted_between(self._after, self._tally.position.watermark)
        start = behind(self._at.event_id, search)
        after: str | None = None
        while True:
            try:
                answer = await self._call(
                    PRODUCT_DELETIONS, {"first": PAGE_PRODUCTS, "after": after, "query": start}
                )
            except InvalidCursor:
                if after is None:
                    raise
                start, after = behind(self._at.event_id, search), None
                continue
            events = self._client.decoded(answer, _EVENTS).events
            if events.nodes:
                gone = await self._gone(events.nodes)
                checkpoint = self._move(event_id=max(map(_number, events.nodes)))
                yield Batch(products=(), checkpoint=checkpoint, deleted_product_ids=gone)
            if not events.page_info.has_next_page or events.page_info.end_cursor in {None, after}:
                return
            after = events.page_info.end_cursor

    async def _gone(self, events: Sequence[EventNode]) -> tuple[str, ...]:
        told = dict.fromkeys(number for event in events if (number := event.deleted_product_id))
        gone = [number for number in told if number not in self._seen]
        for _ in range(_QUESTIONS):
            gone = await self._not_there(gone) if gone else []
        return tuple(gone)

    async def _not_there(self, numbers: Sequence[str]) -> list[str]:
        answer = await self._call(EXISTING_PRODUCTS, {"ids": [product_gid(number) for number in numbers]})
        nodes = self._client.decoded(answer, _NODES).nodes
        there = {numeric_id(node.id, "Product") for node in nodes if node is not None}
        return [number for number in numbers if number not in there] if len(nodes) == len(numbers) else []

    async def _count(self) -> int:
        answer = await self._call(PRODUCT_COUNT, {"query": None})
        return self._client.decoded(answer, _COUNT).products_count.count

    async def _call(self, query: Query, variables: Variables) -> GraphqlResponse:
        try:
            return await self._client.call(query, variables)
        except (ShopifyInternalError, MaxCostExceeded) as error:
            raise internal_error(self._client.shop) from error

    def _move(self, **changes: int | bool) -> bytes:
        return self._tally.moved(departures=msgspec.structs.replace(self._at, **changes))


def _number(event: EventNode) -> int:
    number = event.id.rpartition("/")[2]
    return int(number) if number.isascii() and number.isdigit() else 0
