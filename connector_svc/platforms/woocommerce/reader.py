"""Read one pass over a store: header, batches, end."""

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
from connector_svc.platforms.woocommerce.batch_loader import PassStart
from connector_svc.platforms.woocommerce.client import StoreClient
from connector_svc.platforms.woocommerce.delivery import ProductDelivery
from connector_svc.platforms.woocommerce.parse import ProductParser
from connector_svc.platforms.woocommerce.position import FINGERPRINT, Phase, Position, ProductsEnd
from connector_svc.platforms.woocommerce.prefetch import background_task
from connector_svc.platforms.woocommerce.product_pager import modified_since
from connector_svc.platforms.woocommerce.shop_probe import (
    StoreInfo,
    check_currency,
    discover_api,
    read_store_info,
)
from connector_svc.platforms.woocommerce.stock_scan import StockScan
from connector_svc.platforms.woocommerce.variations import VariationReader
from connector_svc.platforms.woocommerce.wire import PRODUCTS_PATH, VariationRoute

_MAX_ID: Final = 2**63 - 1
_INCREMENTAL_LIMITATIONS: Final = (
    "Titles, descriptions, images and options that changed without a modification date (by SQL) are found by full "
    "syncs only.",
    "Variations that were deleted without a modification date (by SQL) are found by full syncs only.",
)
_NO_BULK_ROUTE_LIMITATION: Final = (
    "Prices and stock of variations that changed without a modification date are found by full syncs only: this "
    "store lists variations of one product at a time."
)


class PassReader:
    """Reads what one request asks for."""

    def __init__(self, request: FetchRequest, client: StoreClient, clock: Callable[[], datetime]) -> None:
        self._request = request
        self._client = client
        self._clock = clock
        self._filters = modified_since(request.updated_after)
        self._stock_scan = StockScan(request, client, self._filters)

    async def events(self) -> AsyncGenerator[FetchEvent, None]:
        """Yield the events of the pass. See `Platform.fetch`."""
        stored = decode_checkpoint(self._request, fingerprint=FINGERPRINT, position_type=Position)
        if stored is not None and stored.phase is Phase.STOCK and stored.products_end is None:
            raise CheckpointInvalid(self._request.shop)
        shop_name = await discover_api(self._client)
        if self._request.product_ids:
            events = self._read_by_id(shop_name)
        elif self._filters or (stored is not None and stored.phase is not Phase.PRODUCTS):
            events = self._read_incremental(shop_name, stored)
        else:
            events = self._read_full(shop_name, stored)
        async with aclosing(events):
            async for event in events:
                yield event

    async def _read_by_id(self, shop_name: str) -> AsyncGenerator[FetchEvent, None]:
        """Read the requested products by their ids."""
        info = await read_store_info(self._client, shop_name)
        ids = [int(key) for key in self._request.product_ids if _is_product_id(key)]
        position = Position(
            watermark=self._clock().astimezone(UTC), route=VariationRoute.OFFICIAL, estimated_products=len(ids)
        )
        yield Header(
            shop_info=info.shop,
            strategy="ids",
            strategy_reason="these products were asked for",
            watermark=position.watermark,
            estimated_product_count=len(ids),
        )
        invalid_ids = tuple(key for key in self._request.product_ids if not _is_product_id(key))
        if invalid_ids:
            yield Batch(products=(), checkpoint=b"", deleted_product_ids=invalid_ids)
        async with aclosing(self._delivery(info).deliver_by_id(ids, position)) as batches:
            async for batch, after in batches:
                position = after
                yield batch
        await check_currency(self._client, info)
        yield End(
            source_count=position.received_count,
            emitted_count=position.counts.emitted,
            rejected_count=position.counts.rejected,
            emitted_variant_count=position.counts.emitted_items,
        )

    async def _read_full(self, shop_name: str, stored: Position | None) -> AsyncGenerator[FetchEvent, None]:
        """Read a full pass."""
        async with (
            aclosing(PassStart(self._request, self._client, self._clock, stored)) as start,
            background_task(read_store_info(self._client, shop_name)) as info_task,
        ):
            info, position = await _await_both(info_task, start.position)
            position = self._with_currency(position, info)
            yield self._header(info, position, resumed=stored is not None)
            async with aclosing(self._delivery(info).deliver_all(position, start)) as events:
                async for event, _ in events:
                    if isinstance(event, End):
                        await check_currency(self._client, info)
                    yield event

    async def _read_incremental(self, shop_name: str, stored: Position | None) -> AsyncGenerator[FetchEvent, None]:
        """Read an incremental pass: the trash, the modified products, the stock of all products."""
        async with (
            background_task(self._start_incremental(stored)) as position_task,
            background_task(read_store_info(self._client, shop_name)) as info_task,
        ):
            info, position = await _await_both(info_task, position_task)
        position = self._with_currency(position, info)
        yield self._header(info, position, resumed=stored is not None)
        if position.phase is Phase.TRASH:
            async with aclosing(self._stock_scan.read_trash(position)) as trash:
                async for batch, _ in trash:
                    yield batch
            position = position.at_start_of(Phase.PRODUCTS)
        end: End | None = None
        if position.phase is Phase.PRODUCTS:
            async with aclosing(self._delivery(info).deliver_all(position)) as events:
                async for event, after in events:
                    position = after
                    if isinstance(event, Batch):
                        yield event
                    else:
                        end = event
        if end is not None:
            position = position.at_start_of(Phase.STOCK, products_end=ProductsEnd.from_end(end))
        async with aclosing(self._stock_scan.scan(position, self._delivery(info))) as batches:
            async for batch, after in batches:
                position = after
                yield batch
        end = await self._stock_scan.build_end(position)
        await check_currency(self._client, info)
        yield end

    async def _start_incremental(self, stored: Position | None) -> Position:
        """Return the stored position, or that of a new pass."""
        if stored is not None:
            return stored
        variations = VariationReader(self._client)
        async with background_task(variations.probe()) as probe:
            count = await self._client.count(PRODUCTS_PATH, self._filters)
            await probe
        return Position(
            watermark=count.at or self._clock().astimezone(UTC),
            route=variations.route,
            phase=Phase.TRASH,
            estimated_products=count.total,
        )

    def _delivery(self, info: StoreInfo) -> ProductDelivery:
        parser = ProductParser(info.weight_unit)
        return ProductDelivery(self._request, self._client, self._clock, self._filters, parser)

    def _with_currency(self, position: Position, info: StoreInfo) -> Position:
        """Set the currency. Raise SourceCurrencyChanged when earlier products of the pass have another one."""
        currency = info.shop.currency_code
        if position.currency not in ("", currency):
            raise SourceCurrencyChanged(self._request.shop, expected=position.currency, received=currency)
        return msgspec.structs.replace(position, currency=currency)

    def _header(self, info: StoreInfo, position: Position, *, resumed: bool) -> Header:
        reason = f"products by id, {position.route.describe()}"
        notes: tuple[str, ...] = ()
        if self._filters:
            notes = _INCREMENTAL_LIMITATIONS
            reason += "; then a scan of the id, stock and price of all products"
            if position.route.is_bulk:
                reason += " and variations"
            else:
                reason += ", not of variations"
                notes = (*notes, _NO_BULK_ROUTE_LIMITATION)
        return Header(
            shop_info=info.shop,
            strategy="paging",
            strategy_reason=reason,
            watermark=position.watermark,
            resumed=resumed,
            estimated_product_count=position.estimated_products,
            estimated_variant_count=position.estimated_items,
            notes=notes,
        )


async def _await_both(
    info_task: asyncio.Task[StoreInfo], position_task: asyncio.Task[Position]
) -> tuple[StoreInfo, Position]:
    """Await both tasks. If both fail, raise the failure of the store info: it names what a person can act on.

    For example that the store is not open, or that the key is wrong.
    """
    await asyncio.wait([info_task, position_task], return_when=asyncio.FIRST_EXCEPTION)
    return await info_task, await position_task


def _is_product_id(text: str) -> bool:
    """Return whether a product of a store can have this id."""
    return text.isascii() and text.isdigit() and text[0] != "0" and len(text) < 20 and int(text) <= _MAX_ID
