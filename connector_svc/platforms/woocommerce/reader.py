"""One pass over a store: header, batches, end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec

from connector_svc.domain.checkpoint import seal, unseal
from connector_svc.domain.fetch import Batch, FetchEvent, FetchRequest, Header
from connector_svc.domain.issue import RecordIssue
from connector_svc.domain.product import Product
from connector_svc.platforms.woocommerce.bounded import read_ahead, side_by_side
from connector_svc.platforms.woocommerce.chunks import chunks, variable
from connector_svc.platforms.woocommerce.client import StoreClient
from connector_svc.platforms.woocommerce.ending import Ending
from connector_svc.platforms.woocommerce.facts import read_facts
from connector_svc.platforms.woocommerce.family import NO_FAMILY, Family
from connector_svc.platforms.woocommerce.parse import Parser
from connector_svc.platforms.woocommerce.position import FINGERPRINT, Position
from connector_svc.platforms.woocommerce.products import PRODUCTS, Listed, Place, ProductPager
from connector_svc.platforms.woocommerce.variations import VariationLists
from connector_svc.platforms.woocommerce.window import since

_Loaded: TypeAlias = tuple[Sequence[Listed], Mapping[int, Family]]


class PassReader:
    """Reads what one request asks for."""

    def __init__(self, request: FetchRequest, client: StoreClient, clock: Callable[[], datetime]) -> None:
        self._request = request
        self._client = client
        self._clock = clock
        self._window = since(request.updated_after)

    async def events(self) -> AsyncGenerator[FetchEvent, None]:
        """See `Platform.fetch`."""
        position = unseal(self._request, fingerprint=FINGERPRINT, position_type=Position)
        facts = await read_facts(self._client)
        resumed = position is not None
        if position is None:
            position = await self._beginning()
        yield Header(
            facts=facts.shop,
            strategy="paging",
            strategy_reason=f"products by id, {position.route.describe()}",
            watermark=position.watermark,
            resumed=resumed,
            estimated_product_count=position.estimated_products,
            estimated_item_count=position.estimated_items,
        )
        ending = Ending(self._client, self._request.shop, self._window, position.watermark)
        parser = Parser(facts.weight_unit)
        while True:
            async with aclosing(self._loaded(position)) as loaded:
                async for chunk, families in loaded:
                    batch, position = self._batch(parser, chunk, families, position)
                    yield batch
            end = await ending.reached(position)
            if end is not None:
                yield end
                return

    async def _beginning(self) -> Position:
        lists = VariationLists(self._client)
        async with side_by_side() as tasks:
            products = tasks.create_task(self._client.count(PRODUCTS, self._window))
            parents = tasks.create_task(self._client.count(PRODUCTS, (*self._window, ("type", "variable"))))
            variations = tasks.create_task(lists.probe())
        count, whole = products.result(), not self._window
        return Position(
            watermark=count.at or self._clock().astimezone(UTC),
            route=lists.route,
            estimated_products=count.total,
            estimated_items=_items(count.total, parents.result().total, variations.result()) if whole else None,
        )

    async def _loaded(self, position: Position) -> AsyncGenerator[_Loaded, None]:
        """Products with their variations: the next are read while the last are consumed."""
        place = Place(last_id=position.last_id, offset=position.offset)
        pager = ProductPager(self._client, self._window, place)
        lists = VariationLists(self._client, position.route)
        async with aclosing(read_ahead(self._with_families(pager, lists))) as loaded:
            async for entry in loaded:
                yield entry

    async def _with_families(self, pager: ProductPager, lists: VariationLists) -> AsyncGenerator[_Loaded, None]:
        async with aclosing(read_ahead(pager.pages())) as pages:
            most = self._request.max_batch_products
            async with aclosing(chunks(pages, most_products=most)) as gathered:
                async for chunk in gathered:
                    yield chunk, await lists.families(variable(chunk))

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


def _items(products: int | None, parents: int | None, variations: int | None) -> int | None:
    """About how many items there are; variations whose product is gone are counted too."""
    if products is None or parents is None or variations is None:
        return None
    return products - parents + variations
