"""BigCommerce as a platform of the connector.

One pass over a store: header, batches, end."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final
from weakref import WeakValueDictionary

from connector_svc.domain.checkpoint import decode_checkpoint
from connector_svc.domain.completeness import check_undelivered
from connector_svc.domain.errors import SourceCountMismatch, SourceCurrencyChanged
from connector_svc.domain.fetch import Batch, FetchEvent, FetchRequest, Header, Wait, WaitReporter
from connector_svc.domain.shop import Shop, ShopInfo
from connector_svc.platforms.base import Capabilities, CredentialsProvider, HttpFactory
from connector_svc.platforms.bigcommerce.batch_builder import FINGERPRINT, Position, Tally
from connector_svc.platforms.bigcommerce.client import PAUSE, StoreClient
from connector_svc.platforms.bigcommerce.inventory import Inventory
from connector_svc.platforms.bigcommerce.parse import Parser
from connector_svc.platforms.bigcommerce.product_pages import IDS_PER_CALL, Pages, page_limit, read_by_id
from connector_svc.platforms.bigcommerce.rate_limiter import Pace
from connector_svc.platforms.bigcommerce.record_salvage import Broken, Listed, id_of
from connector_svc.platforms.bigcommerce.shop_info import (
    LIMITATION,
    Brands,
    count_products,
    count_variants,
    read_currency,
    read_facts,
)
from connector_svc.platforms.bigcommerce.variant_drain import Completion

API_HOST: Final = "api.bigcommerce.com"


class BigCommercePlatform:
    """Reads BigCommerce stores; see `Platform` for what callers may rely on.

    Credentials: {"access_token": ...} of an API account with the scopes store_v2_products_read_only and
    store_v2_information_read_only, and store_inventory_read_only for stock over all locations. A store is named by
    its permanent address, store-{hash}.mybigcommerce.com, and called at api.bigcommerce.com.
    """

    name = "bigcommerce"
    display_name = "BigCommerce"
    domain_pattern = r"store-[a-z0-9]{1,32}\.mybigcommerce\.com"
    domain_example = "store-abc123.mybigcommerce.com"
    capabilities = Capabilities(incremental=True, deletions=True)

    def __init__(
        self,
        http: HttpFactory,
        credentials: CredentialsProvider,
        clock: Callable[[], datetime],
        *,
        pause: float = PAUSE,
    ) -> None:
        """`pause`: seconds before an answer that is not whole is asked for again."""
        self._http = http
        self._credentials = credentials
        self._clock = clock
        self._pause = pause
        self._paces: WeakValueDictionary[str, Pace] = WeakValueDictionary()

    async def check(self, shop: Shop) -> ShopInfo:
        """Name, currency and counts, by four calls. Raises SourceFailure."""
        client = self._client(shop, _ignore)
        facts = (await read_facts(client)).shop
        products, items = await count_products(client), await count_variants(client)
        notes = (LIMITATION, *facts.notes)
        return dataclasses.replace(facts, product_count=products.total, item_count=items.total, notes=notes)

    async def fetch(self, request: FetchRequest, *, on_wait: WaitReporter) -> AsyncGenerator[FetchEvent, None]:
        """See `Platform.fetch`. Two pages are held at most: the one being consumed and the next."""
        client = self._client(request.shop, on_wait)
        async with aclosing(Reader(request, client, self._clock).events()) as events:
            async for event in events:
                yield event

    async def cancel_job(self, shop: Shop, checkpoint: bytes) -> bool:
        """Nothing runs for us there."""
        return False

    def _client(self, shop: Shop, on_wait: WaitReporter) -> StoreClient:
        return StoreClient(
            shop,
            store_hash=shop.domain.partition(".")[0].removeprefix("store-"),
            http=self._http.to_shop(shop, on_wait=on_wait, api_host=API_HOST),
            credentials=self._credentials,
            pace=self._paces.setdefault(shop.domain, Pace(self._clock)),
            on_wait=on_wait,
            pause=self._pause,
        )


def _ignore(wait: Wait) -> None:
    """Nobody follows a check."""


_FULL = "pages in the order of ids with all variants, which neither new nor deleted products shift"
_INCREMENTAL = "every product is looked at, since a variant's stock moves no date; only changed products are sent"
_NAMED = "the products that were asked for by their ids"


class Reader:
    """Reads the products of one request."""

    def __init__(self, request: FetchRequest, client: StoreClient, clock: Callable[[], datetime]) -> None:
        self._request = request
        self._client = client
        self._clock = clock
        self._counted: int | None = None
        """Products, as the store counted them last."""

    async def events(self) -> AsyncGenerator[FetchEvent, None]:
        """See `Platform.fetch`."""
        resumed = decode_checkpoint(self._request, fingerprint=FINGERPRINT, position_type=Position)
        facts = await read_facts(self._client)
        position = resumed or await self._beginning(facts.shop.currency_code)
        yield self._header(facts.shop, position, is_resumed=resumed is not None)
        # Behind the header, which tells the receiver the currency to start over with.
        self._check_currency(position, facts.shop.currency_code)
        tally = Tally(self._request, position, Parser(facts))
        inventory = Inventory(self._client, is_readable=facts.has_inventory)
        events = self._named if self._request.product_ids else self._walked
        async with aclosing(events(tally, inventory)) as batches:
            async for batch in batches:
                yield batch
        self._check_currency(position, await read_currency(self._client))
        counts = tally.position.counts
        received = counts.emitted + counts.rejected
        if not self._request.product_ids:
            undelivered = tally.position.nameless + tally.position.unlisted
            check_undelivered(self._request.shop, counted=received, undelivered=undelivered)
        yield tally.end(self._counted if self._counted is not None else received)

    async def _walked(self, tally: Tally, inventory: Inventory) -> AsyncGenerator[Batch, None]:
        """All batches, until no fewer products came than the store counts.

        Each page proves that it is whole. What was made while we read has the highest ids, so looking again behind
        the last one finds it. When that brings nothing and the count still stands above, something did not come.
        """
        before = -1
        brands = Brands(self._client)
        while True:
            async with aclosing(self._batches(tally, brands, inventory)) as batches:
                async for batch in batches:
                    yield batch
            self._counted = (await count_products(self._client)).total
            seen = tally.position.seen
            if seen >= self._counted:
                return
            if seen == before:
                raise SourceCountMismatch(self._request.shop, expected=self._counted, received=seen)
            before = seen

    async def _batches(self, tally: Tally, brands: Brands, inventory: Inventory) -> AsyncGenerator[Batch, None]:
        position = tally.position
        limit = page_limit(position.estimated_products, position.estimated_items)
        pages = Pages(self._client, inventory, last_id=position.last_id, limit=limit)
        async with aclosing(pages.pages()) as loaded:
            async for page in loaded:
                for batch in tally.batches(page.records, await _brand_names(brands, page.records)):
                    yield batch

    async def _named(self, tally: Tally, inventory: Inventory) -> AsyncGenerator[Batch, None]:
        """The products that the request names; those that two answers do not have are deleted.

        The second answer must count none of them: a row that is counted and does not come decides nothing.
        """
        brands, completion = Brands(self._client), Completion(self._client)
        impossible = tuple(name for name in self._request.product_ids if _number(name) is None)
        if impossible:
            yield tally.deleted(impossible)
        ids = sorted(filter(None, map(_number, self._request.product_ids)))
        for start in range(0, len(ids), IDS_PER_CALL):
            asked = ids[start : start + IDS_PER_CALL]
            records = list((await read_by_id(self._client, asked)).records)
            missing = sorted(set(asked).difference(map(id_of, records)))
            gone: set[int] = set()
            if missing:
                again = await read_by_id(self._client, missing)
                records = sorted([*records, *again.records], key=lambda record: id_of(record) or 0)
                gone = set(missing) - again.ids if again.is_whole else set()
            products = [record for record in records if isinstance(record, Listed)]
            await completion.finish(products)
            await inventory.add_to(products)
            for batch in tally.batches(records, await _brand_names(brands, records)):
                yield batch
            if gone:
                yield tally.deleted(tuple(map(str, sorted(gone))))

    def _check_currency(self, position: Position, currency: str) -> None:
        """Raises SourceCurrencyChanged when the pass began with another currency."""
        if position.currency and position.currency != currency:
            raise SourceCurrencyChanged(self._request.shop, expected=position.currency, received=currency)

    async def _beginning(self, currency: str) -> Position:
        if self._request.product_ids:
            return Position(watermark=self._clock().astimezone(UTC), currency=currency)
        products = await count_products(self._client)
        variants = await count_variants(self._client)
        return Position(
            watermark=products.at or self._clock().astimezone(UTC),
            currency=currency,
            estimated_products=products.total,
            estimated_items=variants.total,
        )

    def _header(self, shop_info: ShopInfo, position: Position, *, is_resumed: bool) -> Header:
        incremental = self._request.updated_after is not None
        named = bool(self._request.product_ids)
        return Header(
            shop_info=shop_info,
            strategy="ids" if named else "paging",
            strategy_reason=_NAMED if named else _INCREMENTAL if incremental else _FULL,
            watermark=position.watermark,
            resumed=is_resumed,
            estimated_product_count=None if incremental else position.estimated_products,
            estimated_item_count=None if incremental else position.estimated_items,
            notes=((LIMITATION,) if incremental else ()) + shop_info.notes,
        )


async def _brand_names(brands: Brands, records: Sequence[Listed | Broken]) -> Mapping[int, str]:
    return await brands.names({one.row.brand_id for one in records if isinstance(one, Listed)})


def _number(product_id: str) -> int | None:
    """An id as BigCommerce writes it; None for what no product can have as its id."""
    if not (product_id.isascii() and product_id.isdecimal()) or product_id.startswith("0"):
        return None
    number = int(product_id)
    return number if number < 2**63 else None
