"""One pass over a store: header, batches, end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final

import msgspec

from connector_svc.domain.checkpoint import decode_checkpoint
from connector_svc.domain.errors import CheckpointInvalid, SourceCurrencyChanged
from connector_svc.domain.fetch import Batch, End, FetchEvent, FetchRequest, Header
from connector_svc.platforms.woocommerce.batch_loader import Start
from connector_svc.platforms.woocommerce.client import StoreClient
from connector_svc.platforms.woocommerce.delivery import ProductDelivery
from connector_svc.platforms.woocommerce.parse import Parser
from connector_svc.platforms.woocommerce.position import FINGERPRINT, Closing, Phase, Position
from connector_svc.platforms.woocommerce.prefetch import started
from connector_svc.platforms.woocommerce.product_pager import PRODUCTS, since
from connector_svc.platforms.woocommerce.shop_probe import StoreFacts, check_currency, open_store, read_facts
from connector_svc.platforms.woocommerce.stock_scan import Sweep
from connector_svc.platforms.woocommerce.variations import VariationLists
from connector_svc.platforms.woocommerce.wire import Route

_MOST_ID: Final = 2**63 - 1
_UNDATED: Final = (
    "Titles, descriptions, images and options that changed without a date (by SQL) are seen by full syncs only.",
    "Variations that were deleted without a date (by SQL) are seen by full syncs only.",
)
_UNDATED_VARIATIONS: Final = (
    "Prices and stock of variations that changed without a date are seen by full syncs only: this store lists "
    "variations of one product at a time."
)


class PassReader:
    """Reads what one request asks for."""

    def __init__(self, request: FetchRequest, client: StoreClient, clock: Callable[[], datetime]) -> None:
        self._request = request
        self._client = client
        self._clock = clock
        self._window = since(request.updated_after)
        self._sweep = Sweep(request, client, self._window)

    async def events(self) -> AsyncGenerator[FetchEvent, None]:
        """See `Platform.fetch`."""
        stored = decode_checkpoint(self._request, fingerprint=FINGERPRINT, position_type=Position)
        if stored is not None and stored.phase is Phase.STOCK and stored.closing is None:
            raise CheckpointInvalid(self._request.shop)
        name = await open_store(self._client)
        if self._request.product_ids:
            events = self._given(name)
        elif self._window or (stored is not None and stored.phase is not Phase.PRODUCTS):
            events = self._swept(name, stored)
        else:
            events = self._all_products(name, stored)
        async with aclosing(events):
            async for event in events:
                yield event

    async def _given(self, name: str) -> AsyncGenerator[FetchEvent, None]:
        """Products by their ids."""
        facts = await read_facts(self._client, name)
        ids = [int(key) for key in self._request.product_ids if _is_id(key)]
        position = Position(
            watermark=self._clock().astimezone(UTC), route=Route.OFFICIAL, estimated_products=len(ids)
        )
        yield Header(
            shop_info=facts.shop,
            strategy="ids",
            strategy_reason="these products were asked for",
            watermark=position.watermark,
            estimated_product_count=len(ids),
        )
        never = tuple(key for key in self._request.product_ids if not _is_id(key))
        if never:
            yield Batch(products=(), checkpoint=b"", deleted_product_ids=never)
        async with aclosing(self._delivery(facts).given(ids, position)) as batches:
            async for batch, after in batches:
                position = after
                yield batch
        await check_currency(self._client, facts)
        counts = position.counts
        yield End(
            source_count=counts.emitted + counts.rejected,
            emitted_count=counts.emitted,
            rejected_count=counts.rejected,
            emitted_item_count=counts.emitted_items,
        )

    async def _all_products(self, name: str, stored: Position | None) -> AsyncGenerator[FetchEvent, None]:
        """A full pass."""
        async with (
            aclosing(Start(self._request, self._client, self._clock, stored)) as start,
            started(read_facts(self._client, name)) as reading,
        ):
            facts, position = await _both(reading, start.position)
            position = self._in_currency(position, facts)
            yield self._header(facts, position, resumed=stored is not None)
            async with aclosing(self._delivery(facts).all(position, start)) as delivered:
                async for event, _ in delivered:
                    if isinstance(event, End):
                        await check_currency(self._client, facts)
                    yield event

    async def _swept(self, name: str, stored: Position | None) -> AsyncGenerator[FetchEvent, None]:
        """An incremental pass: the trash, what was modified, the stock of everything."""
        async with (
            started(self._beginning() if stored is None else _same(stored)) as beginning,
            started(read_facts(self._client, name)) as reading,
        ):
            facts, position = await _both(reading, beginning)
        position = self._in_currency(position, facts)
        yield self._header(facts, position, resumed=stored is not None)
        if position.phase is Phase.TRASH:
            async with aclosing(self._sweep.trash(position)) as trash:
                async for batch, _ in trash:
                    yield batch
            position = position.entering(Phase.PRODUCTS)
        end: End | None = None
        if position.phase is Phase.PRODUCTS:
            async with aclosing(self._delivery(facts).all(position)) as delivered:
                async for event, after in delivered:
                    position = after
                    if isinstance(event, Batch):
                        yield event
                    else:
                        end = event
        if end is not None:
            position = position.entering(Phase.STOCK, closing=Closing.of(end))
        async with aclosing(self._sweep.stock(position, self._delivery(facts))) as levels:
            async for batch, after in levels:
                position = after
                yield batch
        end = await self._sweep.end(position)
        await check_currency(self._client, facts)
        yield end

    def _delivery(self, facts: StoreFacts) -> ProductDelivery:
        parser = Parser(facts.weight_unit)
        return ProductDelivery(self._request, self._client, self._clock, self._window, parser)

    def _in_currency(self, position: Position, facts: StoreFacts) -> Position:
        """Raises SourceCurrencyChanged when what was delivered up to `position` has prices in another currency."""
        currency = facts.shop.currency_code
        if position.currency not in ("", currency):
            raise SourceCurrencyChanged(self._request.shop, expected=position.currency, received=currency)
        return msgspec.structs.replace(position, currency=currency)

    def _header(self, facts: StoreFacts, position: Position, *, resumed: bool) -> Header:
        reason = f"products by id, {position.route.describe()}"
        notes: tuple[str, ...] = ()
        if self._window:
            notes = _UNDATED if position.route.is_bulk else (*_UNDATED, _UNDATED_VARIATIONS)
            reason += "; then a look at the id of everything, and at stock and prices"
            reason += "" if position.route.is_bulk else " of products, not of variations"
        return Header(
            shop_info=facts.shop,
            strategy="paging",
            strategy_reason=reason,
            watermark=position.watermark,
            resumed=resumed,
            estimated_product_count=position.estimated_products,
            estimated_item_count=position.estimated_items,
            notes=notes,
        )

    async def _beginning(self) -> Position:
        lists = VariationLists(self._client)
        async with started(lists.probe()) as probe:
            count = await self._client.count(PRODUCTS, self._window)
            await probe
        return Position(
            watermark=count.at or self._clock().astimezone(UTC),
            route=lists.route,
            phase=Phase.TRASH,
            estimated_products=count.total,
        )


async def _both(facts: asyncio.Task[StoreFacts], position: asyncio.Task[Position]) -> tuple[StoreFacts, Position]:
    """Where both fail, the facts tell what a person can act on: the store is not open, the key is wrong."""
    await asyncio.wait([facts, position], return_when=asyncio.FIRST_EXCEPTION)
    return await facts, await position


async def _same(position: Position) -> Position:
    return position


def _is_id(text: str) -> bool:
    """Whether a product of a store can have this id."""
    return text.isascii() and text.isdigit() and text[0] != "0" and len(text) < 20 and int(text) <= _MOST_ID
