"""A shop that keeps products in memory and is read as the connector reads: in order, in batches, resumably."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from catalogsync.connector.v1 import connector_service_pb2 as pb

from catalog_svc.domain.progress import Waiting
from catalog_svc.domain.shop import ShopProfile
from catalog_svc.domain.source import SourceBatch, SourceEnd, SourceEvent, SourceHeader, SourceRequest
from catalog_svc.source import decode

WATERMARK = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


def product(
    product_id: str, *, price: str = "10.00", items: int = 1, title: str = "Shirt", **variant: Any
) -> pb.Product:
    """A product whose variants are "<id>-1", "<id>-2", ..."""
    return pb.Product(
        id=product_id,
        title=title,
        status=pb.Product.STATUS_ACTIVE,
        variants_complete=True,
        variants=[
            pb.Variant(id=f"{product_id}-{n}", position=n, price=price, available=True, **variant)
            for n in range(1, items + 1)
        ],
    )


class MemorySource:
    """A `ProductSource`; its checkpoint is the number of products delivered."""

    def __init__(self, products: Iterable[pb.Product] = (), *, batch_size: int = 2) -> None:
        self.products = list(products)
        self.batch_size = batch_size
        self.currency_code = "EUR"
        self.issues: list[pb.RecordIssue] = []
        """Told with the first batch."""
        self.failures: dict[int, list[Exception]] = {}
        """By the number of products delivered: raised there, one at each pass."""
        self.waits: dict[int, Waiting] = {}
        self.omit_end = False
        self.announced: int | None = None
        """What the end claims; None: the truth."""
        self.warnings: tuple[str, ...] = ()
        self.listed: tuple[str, ...] | None = None
        """Ids that an incremental pass names at its end as all there are; None: it does not look."""
        self.deleted: tuple[str, ...] = ()
        """Ids that the platform itself reports as deleted, with the listing."""
        self.unlisted: list[pb.Product] = []
        """They exist, and come only when they are asked for by id: the platform's list leaves them out."""
        self.undecided: set[str] = set()
        """Ids that the platform does not tell anything of."""
        self.absence_proven = False
        self.notes: tuple[str, ...] = ()
        """Of the header."""
        self.requests: list[SourceRequest] = []
        """For passes."""
        self.asked: list[tuple[str, ...]] = []
        """Ids asked for, request by request."""
        self.by_id_issues: list[pb.RecordIssue] = []
        """Of products that are asked for by id."""
        self.by_id_failures: dict[int, list[Exception]] = {}
        """By the number of the request by ids, from 1: raised instead of its products."""
        self.by_id_currency = ""
        """What the shop's currency has become when products are asked for by id."""
        self.closed = False
        """Whether the last reader has let go."""
        self.open_passes = 0
        self.before_batch: Callable[[int], None] = lambda delivered: None
        self.hold: asyncio.Event | None = None
        """When set, delivery stops after the first batch until the event."""

    async def fetch(self, request: SourceRequest) -> AsyncGenerator[SourceEvent, None]:
        self.closed = False
        if request.product_ids:
            self.asked.append(request.product_ids)
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
        if failures := self.by_id_failures.get(len(self.asked)):
            raise failures.pop(0)
        existing = {p.id: p for p in [*self.products, *self.unlisted]}
        named = [i for i in request.product_ids if i not in self.undecided]
        aside = [issue for issue in self.by_id_issues if issue.product_id in named]
        gone = [i for i in named if i not in existing and all(issue.product_id != i for issue in aside)]
        message = pb.ProductBatch(
            products=[existing[i] for i in named if i in existing], issues=aside, deleted_product_ids=gone
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
            profile=ShopProfile(currency_code=self.currency_code, platform_shop_id="4711", display_name="Demo"),
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
        rejected = sum(issue.product_set_aside for issue in self.issues)
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
