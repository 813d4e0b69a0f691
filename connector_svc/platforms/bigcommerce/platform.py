"""BigCommerce as a platform of the connector, and one pass over a store: header, batches, end."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final
from weakref import WeakValueDictionary

from connector_svc.domain.checkpoint import decode_checkpoint
from connector_svc.domain.errors import SourceCountMismatch, SourceCurrencyChanged
from connector_svc.domain.fetch import (
    Batch,
    FetchEvent,
    FetchRequest,
    Header,
    Wait,
    WaitReporter,
    check_completeness,
)
from connector_svc.domain.shop import Shop, ShopInfo
from connector_svc.domain.webhook import WebhookSubscription
from connector_svc.platforms.base import (
    Capabilities,
    CredentialsProvider,
    HttpFactory,
    RateLimitHeaders,
    Secret,
)
from connector_svc.platforms.bigcommerce.batch_builder import FINGERPRINT, BatchBuilder, Position
from connector_svc.platforms.bigcommerce.client import RETRY_DELAY_SECONDS, StoreClient
from connector_svc.platforms.bigcommerce.inventory import InventoryReader
from connector_svc.platforms.bigcommerce.parse import ProductParser
from connector_svc.platforms.bigcommerce.product_pages import (
    IDS_PER_CALL,
    ProductPages,
    initial_page_size,
    read_by_id,
)
from connector_svc.platforms.bigcommerce.rate_limiter import RateLimiter
from connector_svc.platforms.bigcommerce.record_salvage import ListedProduct, RejectedRecord, id_of
from connector_svc.platforms.bigcommerce.shop_info import (
    UNDATED_CHANGES_NOTE,
    BrandNames,
    count_products,
    count_variants,
    read_currency,
    read_store_info,
)
from connector_svc.platforms.bigcommerce.variant_drain import VariantDrain
from connector_svc.platforms.bigcommerce.webhook_registrar import HookStore

API_HOST: Final = "api.bigcommerce.com"
RATE_LIMIT_HEADERS: Final = RateLimitHeaders(
    requests_left="X-Rate-Limit-Requests-Left", reset_milliseconds="X-Rate-Limit-Time-Reset-Ms"
)
_FULL_REASON: Final = "pages in the order of ids with all variants; new and deleted products do not shift them"
_INCREMENTAL_REASON: Final = (
    "every product is read, since a change of a variant's stock changes no date; only changed products are sent"
)
_BY_ID_REASON: Final = "the products that were requested by id"


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
        retry_delay_seconds: float = RETRY_DELAY_SECONDS,
    ) -> None:
        """Create the platform; `retry_delay_seconds` pass before an incomplete response is requested again."""
        self._http = http
        self._credentials = credentials
        self._clock = clock
        self._retry_delay_seconds = retry_delay_seconds
        self._rate_limiters: WeakValueDictionary[str, RateLimiter] = WeakValueDictionary()

    async def check(self, shop: Shop) -> ShopInfo:
        """Read name, currency and counts with four requests. Raises SourceFailure."""
        client = self._client(shop, _ignore_wait)
        shop_info = (await read_store_info(client)).shop_info
        products, items = await count_products(client), await count_variants(client)
        notes = (UNDATED_CHANGES_NOTE, *shop_info.notes)
        return dataclasses.replace(shop_info, product_count=products.total, variant_count=items.total, notes=notes)

    async def fetch(self, request: FetchRequest, *, on_wait: WaitReporter) -> AsyncGenerator[FetchEvent, None]:
        """See `Platform.fetch`. At most two pages are in memory: the one being consumed and the next."""
        client = self._client(request.shop, on_wait)
        async with aclosing(PassReader(request, client, self._clock).events()) as events:
            async for event in events:
                yield event

    async def cancel_job(self, shop: Shop, checkpoint: bytes) -> bool:
        """Return False: BigCommerce runs no jobs for a pass."""
        return False

    async def webhooks(self, shop: Shop) -> tuple[WebhookSubscription, ...]:
        """See `WebhookRegistrar.webhooks`."""
        return await HookStore(self._client(shop, _ignore_wait)).list_own()

    async def ensure_webhooks(self, shop: Shop, address: str, secret: Secret) -> tuple[WebhookSubscription, ...]:
        """See `WebhookRegistrar.ensure_webhooks`."""
        return await HookStore(self._client(shop, _ignore_wait)).ensure(address, secret)

    def _client(self, shop: Shop, on_wait: WaitReporter) -> StoreClient:
        return StoreClient(
            shop,
            store_hash=shop.domain.partition(".")[0].removeprefix("store-"),
            http=self._http.to_shop(
                shop, on_wait=on_wait, api_host=API_HOST, rate_limit_headers=RATE_LIMIT_HEADERS
            ),
            credentials=self._credentials,
            rate_limiter=self._rate_limiters.setdefault(shop.domain, RateLimiter(self._clock)),
            on_wait=on_wait,
            retry_delay_seconds=self._retry_delay_seconds,
        )


def _ignore_wait(wait: Wait) -> None:
    """Drop the wait: a check has no subscriber."""


class PassReader:
    """Reads the products of one request."""

    def __init__(self, request: FetchRequest, client: StoreClient, clock: Callable[[], datetime]) -> None:
        self._request = request
        self._client = client
        self._clock = clock
        self._counted: int | None = None
        """Products, as the store counted them last."""

    async def events(self) -> AsyncGenerator[FetchEvent, None]:
        """Yield the events of the pass; see `Platform.fetch`."""
        resumed = decode_checkpoint(self._request, fingerprint=FINGERPRINT, position_type=Position)
        store = await read_store_info(self._client)
        position = resumed or await self._initial_position(store.shop_info.currency_code)
        yield self._header(store.shop_info, position, is_resumed=resumed is not None)
        # After the header: from it the receiver knows the currency to start over with.
        self._check_currency(position, store.shop_info.currency_code)
        builder = BatchBuilder(self._request, position, ProductParser(store))
        inventory = InventoryReader(self._client, is_readable=store.is_inventory_readable)
        read = self._read_by_id if self._request.product_ids else self._read_all
        async with aclosing(read(builder, inventory)) as batches:
            async for batch in batches:
                yield batch
        self._check_currency(position, await read_currency(self._client))
        counts = builder.position.counts
        received = counts.emitted + counts.rejected
        if not self._request.product_ids:
            undelivered = builder.position.missing_id + builder.position.unlisted
            check_completeness(self._request.shop, counted=received, undelivered=undelivered)
        yield builder.end(self._counted if self._counted is not None else received)

    async def _read_all(self, builder: BatchBuilder, inventory: InventoryReader) -> AsyncGenerator[Batch, None]:
        """Yield all batches, until at least as many products were seen as the store counts.

        Each page proves that it is complete. Products created during the pass have the highest ids, so another
        read after the last id finds them. When such a read finds nothing and the count is still higher, products
        are missing and SourceCountMismatch is raised.
        """
        seen_before = -1
        brands = BrandNames(self._client)
        while True:
            async with aclosing(self._read_pages(builder, brands, inventory)) as batches:
                async for batch in batches:
                    yield batch
            self._counted = (await count_products(self._client)).total
            seen = builder.position.seen
            if seen >= self._counted:
                return
            if seen == seen_before:
                raise SourceCountMismatch(self._request.shop, expected=self._counted, received=seen)
            seen_before = seen

    async def _read_pages(
        self, builder: BatchBuilder, brands: BrandNames, inventory: InventoryReader
    ) -> AsyncGenerator[Batch, None]:
        position = builder.position
        page_size = initial_page_size(position.estimated_products, position.estimated_items)
        pages = ProductPages(self._client, inventory, last_id=position.last_id, page_size=page_size)
        async with aclosing(pages.read()) as loaded:
            async for page in loaded:
                for batch in builder.build(page.records, await _brand_names(brands, page.records)):
                    yield batch

    async def _read_by_id(self, builder: BatchBuilder, inventory: InventoryReader) -> AsyncGenerator[Batch, None]:
        """Yield the requested products; those missing from two responses are deleted.

        The second response must not count a missing product: a product that is counted and not listed stays
        undecided.
        """
        brands, drain = BrandNames(self._client), VariantDrain(self._client)
        impossible = tuple(one for one in self._request.product_ids if _parse_id(one) is None)
        if impossible:
            yield builder.deletions(impossible)
        ids = sorted(filter(None, map(_parse_id, self._request.product_ids)))
        for start in range(0, len(ids), IDS_PER_CALL):
            requested = ids[start : start + IDS_PER_CALL]
            records = list((await read_by_id(self._client, requested)).records)
            missing = sorted(set(requested).difference(map(id_of, records)))
            deleted: set[int] = set()
            if missing:
                second = await read_by_id(self._client, missing)
                records = sorted([*records, *second.records], key=lambda record: id_of(record) or 0)
                deleted = set(missing) - second.ids if second.is_complete else set()
            products = [record for record in records if isinstance(record, ListedProduct)]
            await drain.complete(products)
            await inventory.add_stock(products)
            for batch in builder.build(records, await _brand_names(brands, records)):
                yield batch
            if deleted:
                yield builder.deletions(tuple(map(str, sorted(deleted))))

    def _check_currency(self, position: Position, currency: str) -> None:
        """Raise SourceCurrencyChanged when the pass began with another currency."""
        if position.currency and position.currency != currency:
            raise SourceCurrencyChanged(self._request.shop, expected=position.currency, received=currency)

    async def _initial_position(self, currency: str) -> Position:
        if self._request.product_ids:
            return Position(watermark=self._clock().astimezone(UTC), currency=currency)
        products = await count_products(self._client)
        variants = await count_variants(self._client)
        return Position(
            watermark=products.server_time or self._clock().astimezone(UTC),
            currency=currency,
            estimated_products=products.total,
            estimated_items=variants.total,
        )

    def _header(self, shop_info: ShopInfo, position: Position, *, is_resumed: bool) -> Header:
        incremental = self._request.updated_after is not None
        by_id = bool(self._request.product_ids)
        return Header(
            shop_info=shop_info,
            strategy="ids" if by_id else "paging",
            strategy_reason=_BY_ID_REASON if by_id else _INCREMENTAL_REASON if incremental else _FULL_REASON,
            watermark=position.watermark,
            resumed=is_resumed,
            estimated_product_count=None if incremental else position.estimated_products,
            estimated_variant_count=None if incremental else position.estimated_items,
            notes=((UNDATED_CHANGES_NOTE,) if incremental else ()) + shop_info.notes,
        )


async def _brand_names(brands: BrandNames, records: Sequence[ListedProduct | RejectedRecord]) -> Mapping[int, str]:
    return await brands.read({one.row.brand_id for one in records if isinstance(one, ListedProduct)})


def _parse_id(product_id: str) -> int | None:
    """Return an id as BigCommerce writes it; None for what no product can have as its id."""
    if not (product_id.isascii() and product_id.isdecimal()) or product_id.startswith("0"):
        return None
    number = int(product_id)
    return number if number < 2**63 else None
