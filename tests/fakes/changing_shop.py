"""A fake shop that changes while it is read, and a reader of it that advances only when it is allowed to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from catalogsync.connector.v1 import connector_service_pb2 as pb

from catalog_svc.domain.shop import ShopProfile
from catalog_svc.domain.source import SourceBatch, SourceEnd, SourceEvent, SourceHeader, SourceRequest
from catalog_svc.source import decode
from tests.fakes.product_source import product

_TICK = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """The state of a product at one time."""

    number: int
    items: int
    updated: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """A batch that was sent to a reader."""

    after: bytes
    """The checkpoint before it."""
    products: dict[str, Version]


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """The content of a checkpoint; no two batches have the same one."""

    number: int = 0
    after: str = ""
    emitted: int = 0
    watermark: str = ""

    @staticmethod
    def of(checkpoint: bytes) -> Position:
        return Position(**json.loads(checkpoint)) if checkpoint else Position()

    def encode(self) -> bytes:
        fields = {"number": self.number, "after": self.after, "emitted": self.emitted, "watermark": self.watermark}
        return json.dumps(fields).encode()


@dataclass(kw_only=True, slots=True)
class ChangingShop:
    """The current products, and all batches that were ever sent. Ids of deleted products are not used again."""

    now: datetime = datetime(2026, 11, 1, tzinfo=UTC)
    products: dict[str, Version] = field(default_factory=dict)
    deleted: dict[str, datetime] = field(default_factory=dict)
    sent: dict[bytes, Sent] = field(default_factory=dict)
    """By the batch's checkpoint."""
    completed: set[bytes] = field(default_factory=set)
    """Checkpoints after which a pass was completed."""
    reads: int = 0
    _created: int = 0

    def tick(self) -> datetime:
        self.now += _TICK
        return self.now

    def add(self, items: int) -> None:
        self._created += 1
        self.products[f"{self._created:04}"] = Version(number=1, items=items, updated=self.tick())

    def change(self, product_id: str, items: int) -> None:
        number = self.products[product_id].number + 1
        self.products[product_id] = Version(number=number, items=items, updated=self.tick())

    def delete(self, product_id: str) -> None:
        del self.products[product_id]
        self.deleted[product_id] = self.tick()

    def window(self, after: datetime | None, until: datetime) -> list[str]:
        """Return all ids, or those of products last updated within these times, sorted."""
        return sorted(pid for pid, v in self.products.items() if after is None or after <= v.updated <= until)


class SteppedReader:
    """A `ProductSource` of a changing shop. Each event needs a permit, and is read when the permit is given."""

    def __init__(self, shop: ChangingShop, *, batch_size: int = 2) -> None:
        self._shop = shop
        self._batch_size = batch_size
        self._permits = asyncio.Semaphore(0)
        self._unlimited = False
        self.failure: Exception | None = None
        """Raised instead of the next event."""
        self.cut = False
        """The stream ends instead of the next event."""

    def allow(self, events: int) -> None:
        for _ in range(events):
            self._permits.release()

    def allow_all(self) -> None:
        self._unlimited = True
        self._permits.release()

    def fetch(self, request: SourceRequest) -> AsyncGenerator[SourceEvent, None]:
        return self._by_id(request) if request.product_ids else self._pass(request)

    async def _by_id(self, request: SourceRequest) -> AsyncGenerator[SourceEvent, None]:
        """Read products by id, without permits: a reconciliation is not part of the order of the pass."""
        yield _header(self._shop.now)
        existing = {pid: v for pid in request.product_ids if (v := self._shop.products.get(pid)) is not None}
        deleted = tuple(pid for pid in request.product_ids if pid not in existing)
        yield replace(_batch(existing, b""), deleted_product_ids=deleted)
        yield SourceEnd(source_count=len(existing), emitted_count=len(existing), rejected_count=0)

    async def _pass(self, request: SourceRequest) -> AsyncGenerator[SourceEvent, None]:
        shop, position = self._shop, Position.of(request.checkpoint)
        if not position.watermark:
            position = replace(position, watermark=shop.now.isoformat())
            # So that a change from now on is later than the watermark.
            shop.tick()
        until = datetime.fromisoformat(position.watermark)
        checkpoint = request.checkpoint
        if await self._stopped():
            return
        yield _header(until)
        size = min(self._batch_size, request.max_batch_products or self._batch_size)
        while True:
            if await self._stopped():
                return
            window = shop.window(request.updated_after, until)
            ids = [pid for pid in window if pid > position.after][:size]
            if not ids:
                break
            number = len(shop.sent) + 1
            position = replace(position, number=number, after=ids[-1], emitted=position.emitted + len(ids))
            batch = _batch({pid: shop.products[pid] for pid in ids}, position.encode())
            products = {pid: shop.products[pid] for pid in ids}
            shop.sent[batch.checkpoint] = Sent(after=checkpoint, products=products)
            checkpoint = batch.checkpoint
            yield batch
        shop.completed.add(checkpoint)
        yield SourceEnd(source_count=len(window), emitted_count=position.emitted, rejected_count=0)

    async def _stopped(self) -> bool:
        if not self._unlimited:
            await self._permits.acquire()
        self._shop.reads += 1
        failure, self.failure = self.failure, None
        cut, self.cut = self.cut, False
        if failure is not None:
            raise failure
        return cut


def _header(watermark: datetime) -> SourceHeader:
    return SourceHeader(
        profile=ShopProfile(currency_code="EUR", platform_shop_id="4711", display_name="Demo"),
        watermark=watermark,
        strategy="paging",
        served_api_version="1",
        estimated_product_count=None,
        estimated_item_count=None,
    )


def _batch(versions: dict[str, Version], checkpoint: bytes) -> SourceBatch:
    products = [product(pid, items=v.items, title=str(v.number)) for pid, v in versions.items()]
    return decode.batch(pb.ProductBatch(products=products, checkpoint=checkpoint), currency_code="EUR")
