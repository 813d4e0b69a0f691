"""A fake platform whose shop is a list in memory, read like real ones: in order, by checkpoints, to the end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from connector_svc.domain.checkpoint import PassCounts, decode_checkpoint, encode_checkpoint
from connector_svc.domain.fetch import Batch, End, FetchEvent, FetchRequest, Header, WaitReporter
from connector_svc.domain.product import Product
from connector_svc.domain.records import RecordIssue
from connector_svc.domain.shop import Shop, ShopInfo
from connector_svc.platforms.base import Capabilities

BEGAN = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class _Position(msgspec.Struct, frozen=True, kw_only=True):
    next: int
    watermark: datetime
    counts: PassCounts


async def _nothing(_: WaitReporter) -> None: ...


@dataclass(kw_only=True, slots=True)
class ListedPlatform:
    """Reads `products`; the issues of a product are in its batch, all others in the last batch."""

    products: Sequence[Product] = ()
    issues: Sequence[RecordIssue] = ()
    before_each: Callable[[WaitReporter], Awaitable[None]] = _nothing
    """Awaited before each event."""
    watermark: datetime = BEGAN
    name: str = "listed"
    display_name: str = "Listed"
    domain_pattern: str = r"[a-z0-9-]+\.example"
    domain_example: str = "demo.example"
    capabilities: Capabilities = field(default_factory=lambda: Capabilities(incremental=True))
    yielded: list[FetchEvent] = field(default_factory=list)
    requests: list[FetchRequest] = field(default_factory=list)
    closed: int = 0
    """Number of readers that ended, in whatever way."""
    job_running: bool = False
    """Whether there is a job to cancel."""
    resume_is_expensive: bool = False
    cancelled_checkpoints: list[bytes] = field(default_factory=list)
    """The platform's own checkpoints of passes whose job was to be cancelled."""

    async def check(self, shop: Shop) -> ShopInfo:
        return ShopInfo(currency_code="EUR", display_name="Shop", product_count=len(self.products))

    async def fetch(self, request: FetchRequest, *, on_wait: WaitReporter) -> AsyncGenerator[FetchEvent, None]:
        self.requests.append(request)
        try:
            for event in self._events(request):
                await self.before_each(on_wait)
                self.yielded.append(event)
                yield event
        finally:
            self.closed += 1

    async def cancel_job(self, shop: Shop, checkpoint: bytes) -> bool:
        self.cancelled_checkpoints.append(checkpoint)
        ended, self.job_running = self.job_running, False
        return ended

    def _events(self, request: FetchRequest) -> list[FetchEvent]:
        found = decode_checkpoint(request, fingerprint="listed", position_type=_Position)
        at = found or _Position(next=0, watermark=self.watermark, counts=PassCounts())
        events: list[FetchEvent] = [
            Header(
                shop_info=ShopInfo(currency_code="EUR"),
                strategy="paging",
                strategy_reason="the only one",
                watermark=at.watermark,
                resumed=found is not None,
                resume_is_expensive=self.resume_is_expensive,
            )
        ]
        counts = at.counts
        for begin in range(at.next, len(self.products), request.max_batch_products):
            batch, counts = self._batch(request, begin, at.watermark, counts)
            events.append(batch)
        return [*events, self._end(counts)]

    def _batch(
        self, request: FetchRequest, begin: int, watermark: datetime, counts: PassCounts
    ) -> tuple[Batch, PassCounts]:
        products = tuple(self.products[begin : begin + request.max_batch_products])
        end = begin + len(products)
        issues = self._issues_of(products, last=end == len(self.products))
        counts = counts.plus(
            emitted=len(products),
            emitted_items=sum(len(product.variants) for product in products),
            rejected=sum(issue.product_rejected for issue in issues),
        )
        position = _Position(next=end, watermark=watermark, counts=counts)
        checkpoint = encode_checkpoint(request, fingerprint="listed", position=position)
        return Batch(products=products, checkpoint=checkpoint, issues=issues), counts

    def _issues_of(self, products: tuple[Product, ...], *, last: bool) -> tuple[RecordIssue, ...]:
        here = {product.id for product in products}
        listed = {product.id for product in self.products}
        return tuple(
            issue for issue in self.issues if issue.product_id in here or (last and issue.product_id not in listed)
        )

    def _end(self, counts: PassCounts) -> End:
        return End(
            source_count=counts.emitted + counts.rejected,
            emitted_count=counts.emitted,
            rejected_count=counts.rejected,
            emitted_variant_count=counts.emitted_items,
        )
