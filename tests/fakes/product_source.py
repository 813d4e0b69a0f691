"""A product source in memory, which reads as the connector does: in order, in batches, from a checkpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.types.v1 import product_pb2

from catalog_svc.domain.shop import ShopProfile
from catalog_svc.domain.source import SourceBatch, SourceEnd, SourceEvent, SourceHeader, SourceRequest
from catalog_svc.domain.sync import Waiting
from catalog_svc.source import decode

WATERMARK = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


def product(
    product_id: str, *, price: str = "10.00", items: int = 1, title: str = "Shirt", **variant: Any
) -> pb.Product:
    """Return a product whose variants are "<id>-1", "<id>-2", ..."""
    return pb.Product(
        id=product_id,
        title=title,
        status=product_pb2.PRODUCT_STATUS_ACTIVE,
        variants_complete=True,
        variants=[
            pb.Variant(id=f"{product_id}-{n}", position=n, price_amount=price, available=True, **variant)
            for n in range(1, items + 1)
        ],
    )


class MemorySource:
    """A `ProductSource`; its checkpoint is the number of products delivered."""

    def __init__(self, products: Iterable[pb.Product] = (), *, batch_size: int = 2) -> None:
        self.products = list(products)
        self.batch_size = batch_size
        self.currency_code = "EUR"
        self.platform_shop_id = "4711"
        self.display_name = "Demo"
        self.issues: list[pb.RecordIssue] = []
        """Delivered with the first batch."""
        self.failures: dict[int, list[Exception]] = {}
        """By the number of products delivered: raised at that point, one in each pass."""
        self.waits: dict[int, Waiting] = {}
        self.omit_end = False
        self.announced: int | None = None
        """The product count of the end mark; None: the right one."""
        self.warnings: tuple[str, ...] = ()
        self.listed: tuple[str, ...] | None = None
        """Ids that a pass lists at its end as all products of the shop; None: it lists none."""
        self.deleted: tuple[str, ...] = ()
        """Ids that the platform reports as deleted, together with the listing."""
        self.unlisted: list[pb.Product] = []
        """Products that exist and are delivered by id only: the platform's listing leaves them out."""
        self.undecided: set[str] = set()
        """Ids that the platform neither returns nor reports as deleted."""
        self.absence_proven = False
        self.notes: tuple[str, ...] = ()
        """The notes of the header."""
        self.requests: list[SourceRequest] = []
        """The requests for passes."""
        self.requested_ids: list[tuple[str, ...]] = []
        """The ids of each request by id."""
        self.by_id_issues: list[pb.RecordIssue] = []
        """Issues of products that are requested by id."""
        self.by_id_failures: dict[int, list[Exception]] = {}
        """By the number of the request by id, from 1: raised instead of its products."""
        self.by_id_currency = ""
        """The shop's new currency when products are requested by id; empty: unchanged."""
        self.closed = False
        """Whether the last reader has closed the stream."""
        self.open_passes = 0
        self.before_batch: Callable[[int], None] = lambda delivered: None
        self.hold: asyncio.Event | None = None
        """When set, delivery stops after the first batch until the event."""

    async def fetch(self, request: SourceRequest) -> AsyncGenerator[SourceEvent, None]:
        self.closed = False
        if request.product_ids:
            self.requested_ids.append(request.product_ids)
        else:
            self.requests.append(request)
        self.open_passes += 1
        try:
            async for event in self._by_id(request) if request.product_ids else self._pass(request):
                yield event
        finally:
            self.closed = True
            self.open_passes -= 1

    async def _by_id(self, request: SourceRequest) -> AsyncGenerator[SourceEvent, None]:
        self.currency_code = self.by_id_currency or self.currency_code
        yield self._header()
        if failures := self.by_id_failures.get(len(self.requested_ids)):
            raise failures.pop(0)
        existing = {p.id: p for p in [*self.products, *self.unlisted]}
        named = [i for i in request.product_ids if i not in self.undecided]
        rejected = [issue for issue in self.by_id_issues if issue.product_id in named]
        deleted = [i for i in named if i not in existing and all(issue.product_id != i for issue in rejected)]
        message = pb.ProductBatch(
            products=[existing[i] for i in named if i in existing], issues=rejected, deleted_product_ids=deleted
        )
        yield decode.batch(message, currency_code=self.currency_code)
        yield SourceEnd(source_count=0, emitted_count=0, rejected_count=0)

    async def _pass(self, request: SourceRequest) -> AsyncGenerator[SourceEvent, None]:
        yield self._header()
        position = int(request.checkpoint.removesuffix(b".") or b"0")
        size = request.max_batch_products or self.batch_size
        while position < len(self.products) or (position == 0 and self.issues):
            self._fail_at(position)
            if position in self.waits:
                yield self.waits[position]
            self.before_batch(position)
            await asyncio.sleep(0)
            batch = self.products[position : position + min(size, self.batch_size)]
            first, position = position == 0, position + max(len(batch), 1)
            yield self._batch(batch, position, with_issues=first)
            if self.hold is not None:
                await self.hold.wait()
        self._fail_at(position)
        if self.listed is not None:
            message = pb.ProductBatch(
                listed_product_ids=self.listed,
                deleted_product_ids=self.deleted,
                checkpoint=str(position).encode() + b".",
            )
            yield decode.batch(message, currency_code=self.currency_code)
        if not self.omit_end:
            yield self._end()

    def _header(self) -> SourceHeader:
        return SourceHeader(
            profile=ShopProfile(
                currency_code=self.currency_code,
                platform_shop_id=self.platform_shop_id,
                display_name=self.display_name,
            ),
            watermark=WATERMARK,
            strategy="paging",
            served_api_version="2026-10",
            estimated_product_count=len(self.products),
            estimated_item_count=sum(len(p.variants) for p in self.products),
            notes=self.notes,
        )

    def _batch(self, products: list[pb.Product], position: int, *, with_issues: bool) -> SourceBatch:
        message = pb.ProductBatch(
            products=products,
            issues=self.issues if with_issues else [],
            checkpoint=str(position).encode(),
        )
        return decode.batch(message, currency_code=self.currency_code)

    def _end(self) -> SourceEnd:
        rejected = sum(issue.product_rejected for issue in self.issues)
        counted = len(self.products) + rejected
        return SourceEnd(
            source_count=counted if self.announced is None else self.announced,
            emitted_count=len(self.products),
            rejected_count=rejected,
            warnings=self.warnings,
            all_listed=self.listed is not None,
            absence_proven=self.absence_proven,
        )

    def _fail_at(self, position: int) -> None:
        failures = self.failures.get(position)
        if failures:
            raise failures.pop(0)
