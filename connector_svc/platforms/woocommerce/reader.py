"""One pass over a store: header, batches, end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

import msgspec

from connector_svc.domain.checkpoint import seal, unseal
from connector_svc.domain.errors import CheckpointInvalid
from connector_svc.domain.fetch import Batch, End, FetchEvent, FetchRequest, Header
from connector_svc.domain.issue import RecordIssue
from connector_svc.domain.product import Product
from connector_svc.platforms.woocommerce.bounded import started
from connector_svc.platforms.woocommerce.client import StoreClient
from connector_svc.platforms.woocommerce.ending import Ending
from connector_svc.platforms.woocommerce.facts import StoreFacts, read_facts
from connector_svc.platforms.woocommerce.family import NO_FAMILY, Family
from connector_svc.platforms.woocommerce.opening import open_store
from connector_svc.platforms.woocommerce.parse import Parser
from connector_svc.platforms.woocommerce.position import FINGERPRINT, Closing, Phase, Position
from connector_svc.platforms.woocommerce.products import PRODUCTS, Listed
from connector_svc.platforms.woocommerce.start import Start
from connector_svc.platforms.woocommerce.sweep import Sweep
from connector_svc.platforms.woocommerce.variations import VariationLists
from connector_svc.platforms.woocommerce.window import since


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
        stored = unseal(self._request, fingerprint=FINGERPRINT, position_type=Position)
        if stored is not None and stored.phase is Phase.STOCK and stored.closing is None:
            raise CheckpointInvalid(self._request.shop)
        name = await open_store(self._client)
        if self._window or (stored is not None and stored.phase is not Phase.PRODUCTS):
            events = self._swept(name, stored)
        else:
            events = self._all_products(name, stored)
        async with aclosing(events):
            async for event in events:
                yield event

    async def _all_products(self, name: str, stored: Position | None) -> AsyncGenerator[FetchEvent, None]:
        """A full pass."""
        async with (
            aclosing(Start(self._request, self._client, self._clock, stored)) as start,
            started(read_facts(self._client, name)) as reading,
        ):
            facts, position = await _both(reading, start.position)
            yield self._header(facts, position, resumed=stored is not None)
            async with aclosing(self._products(Parser(facts.weight_unit), position, start)) as read:
                async for event, _ in read:
                    yield event

    async def _swept(self, name: str, stored: Position | None) -> AsyncGenerator[FetchEvent, None]:
        """An incremental pass: the trash, what was modified, the stock of everything."""
        async with (
            started(self._beginning() if stored is None else _same(stored)) as beginning,
            started(read_facts(self._client, name)) as reading,
        ):
            facts, position = await _both(reading, beginning)
        yield self._header(facts, position, resumed=stored is not None)
        if position.phase is Phase.TRASH:
            async with aclosing(self._sweep.trash(position)) as trash:
                async for batch, _ in trash:
                    yield batch
            position = position.entering(Phase.PRODUCTS)
        end: End | None = None
        if position.phase is Phase.PRODUCTS:
            async with aclosing(self._products(Parser(facts.weight_unit), position)) as read:
                async for event, after in read:
                    position = after
                    if isinstance(event, Batch):
                        yield event
                    else:
                        end = event
        if end is not None:
            position = position.entering(Phase.STOCK, closing=Closing.of(end))
        async with aclosing(self._sweep.stock(position)) as levels:
            async for batch, after in levels:
                position = after
                yield batch
        yield await self._sweep.end(position)

    def _header(self, facts: StoreFacts, position: Position, *, resumed: bool) -> Header:
        reason = f"products by id, {position.route.describe()}"
        if self._window and position.route.is_bulk:
            reason += "; then a look at the stock and the id of everything"
        elif self._window:
            reason += "; then a look at the id of everything and the stock of products, not of variations"
        return Header(
            facts=facts.shop,
            strategy="paging",
            strategy_reason=reason,
            watermark=position.watermark,
            resumed=resumed,
            estimated_product_count=position.estimated_products,
            estimated_item_count=position.estimated_items,
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

    async def _products(
        self, parser: Parser, position: Position, start: Start | None = None
    ) -> AsyncGenerator[tuple[Batch | End, Position], None]:
        """Batches with the positions after them, then the end of this phase."""
        ending = Ending(self._client, self._request.shop, self._window, position.watermark)
        end: End | None = None
        while end is None:
            async with aclosing(start or Start(self._request, self._client, self._clock, position)) as current:
                async for chunk, families in current.loaded:
                    batch, position = self._batch(parser, chunk, families, position)
                    yield batch, position
                end = await ending.reached(position, told=current.pager.total)
            start = None
        yield end, position

    def _batch(
        self, parser: Parser, chunk: Sequence[Listed], families: Mapping[int, Family], position: Position
    ) -> tuple[Batch, Position]:
        products: list[Product] = []
        issues: list[RecordIssue] = []
        set_aside = nameless = 0
        for listed in chunk:
            family = families.get(listed.record.id or 0, NO_FAMILY)
            if family.gone:
                continue
            parsed = parser.parse(listed.record, family, listed.blemishes)
            issues += parsed.issues
            if parsed.product is not None:
                products.append(parsed.product)
            else:
                set_aside += 1
                nameless += listed.record.id is None
        items = sum(len(product.variants) for product in products)
        after = msgspec.structs.replace(
            position,
            last_id=chunk[-1].place.last_id,
            offset=chunk[-1].place.offset,
            counts=position.counts.plus(emitted=len(products), emitted_items=items, set_aside=set_aside),
            nameless=position.nameless + nameless,
        )
        checkpoint = seal(self._request, fingerprint=FINGERPRINT, position=after)
        return Batch(products=tuple(products), checkpoint=checkpoint, issues=tuple(issues)), after


async def _both(facts: asyncio.Task[StoreFacts], position: asyncio.Task[Position]) -> tuple[StoreFacts, Position]:
    """Where both fail, the facts tell what a person can act on: the store is not open, the key is wrong."""
    await asyncio.wait([facts, position], return_when=asyncio.FIRST_EXCEPTION)
    return await facts, await position


async def _same(position: Position) -> Position:
    return position
