"""The load while processes are replaced: syncs, watchers, readers at a steady rate, and followers of feeds.

All clients use one gRPC target for all replicas, with the service config that clients get: health checks choose
the replica. What every call ended with is counted, with its method, code and reason.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager, suppress
from importlib.resources import files
from random import Random
from typing import Final, TypeVar

import grpc
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_client import CatalogClient, MirrorBatch, MirrorState, mirror_items
from catalogsync_common.channel import open_channel
from catalogsync_common.status import ReceivedFailure, read_failure, read_failure_now

from devstore.catalog.catalog import Catalog
from devstore.server import RunningStore
from tests.waiting import until

T = TypeVar("T")
End = tuple[str, str, str]
"""How a call ended: method, code, and reason of the error or of the reconnect."""
_READ_INTERVAL_SECONDS: Final = 0.05
_START_INTERVAL_SECONDS: Final = 0.2
"""Between the first syncs of two shops: many at once would only measure how fast the devstore renders them."""
_CALL_TIMEOUT_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.1
_ENDED: Final = frozenset({pb.Sync.STATE_SUCCEEDED, pb.Sync.STATE_FAILED, pb.Sync.STATE_CANCELLED})


_READERS: Final = ("with retries", "without retries")
"""Kinds of unary clients."""


class NoProgress(Exception):
    """A client has ended, saw what it must not see, or gets nothing done."""


class Observations:
    """What the clients observed."""

    def __init__(self) -> None:
        self.ends: Counter[End] = Counter()
        self.violations: list[str] = []
        self.syncs = 0
        """Syncs that succeeded."""
        self.reads: Counter[str] = Counter()
        """Successful unary calls by kind of client."""
        self.changes = 0
        """Messages that the follower of all shops has received."""

    def count_error(self, method: str, failure: ReceivedFailure, details: str = "") -> None:
        """Count a failed call; only transient errors are allowed."""
        self.ends[method, failure.code.name, failure.reason] += 1
        if not failure.is_transient:
            self.violations.append(f"{method}: {failure.code.name} {failure.reason}: {failure.message} {details}")


class Copy:
    """A consumer's copy of a shop's items, in memory."""

    def __init__(self) -> None:
        self.items: dict[str, pb.Item] = {}
        self._state = MirrorState()

    async def load(self) -> MirrorState:
        return self._state

    async def store(self, batch: MirrorBatch) -> None:
        for item in batch.items:
            if item.HasField("delete_time"):
                self.items.pop(item.item_id, None)
            else:
                self.items[item.item_id] = item
        self._state = batch.state


class Load:
    """The clients. Shops change between two of their syncs; no product is removed, so that counts only grow."""

    def __init__(self, target: str, store: RunningStore) -> None:
        self.observations = Observations()
        self._store = store
        self._shops = {
            domain: pb.ShopRef(platform=shop.spec.platform.value, domain=domain)
            for domain, shop in store.shops.items()
        }
        self._client = CatalogClient(target, timeout_seconds=_CALL_TIMEOUT_SECONDS)
        config = files("catalogsync").joinpath("service_config.json").read_text(encoding="utf-8")
        self._retrying = open_channel(target, service_config=_without_timeouts(config, retries=True))
        self._plain = open_channel(target, service_config=_without_timeouts(config, retries=False))
        self._copy = Copy()
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        """Of the clients, none of which ends by itself."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the clients; at the end let the syncs end, sync each shop once more, and stop the other clients."""
        stubs = dict(zip(_READERS, map(CatalogServiceStub, (self._retrying, self._plain)), strict=True))
        for shop in self._shops.values():
            await self._client.register_shop(pb.RegisterShopRequest(platform=shop.platform, domain=shop.domain))
        syncing = [
            asyncio.create_task(self._sync_again_and_again(shop, Random(number), number * _START_INTERVAL_SECONDS))
            for number, shop in enumerate(self._shops.values())
        ]
        others = [asyncio.create_task(self._read(kind, stub)) for kind, stub in stubs.items()]
        others.append(asyncio.create_task(self._follow_changes(CatalogServiceStub(self._retrying))))
        others.append(asyncio.create_task(mirror_items(self._client, self._shops[self._followed], self._copy)))
        self._tasks = [*syncing, *others]
        try:
            yield
            self._stopping = True
            await asyncio.gather(*syncing)
            await asyncio.gather(*(self._sync(shop, pb.Sync.MODE_FULL) for shop in self._shops.values()))
            await self._compare_copy()
            self.observations.violations += [f"a client ended: {task!r}" for task in others if task.done()]
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._client.close()
            await self._retrying.close()
            await self._plain.close()

    async def wait_for_progress(self) -> None:
        """Return once every kind of client has got on. Raises NoProgress."""
        seen = self.observations
        syncs, changes, reads = seen.syncs, seen.changes, Counter(seen.reads)

        def stopped() -> list[str]:
            kinds = {
                "syncs": seen.syncs < syncs + 2,
                "follower": seen.changes == changes,
                **{f"reader {kind}": seen.reads[kind] < reads[kind] + 5 for kind in _READERS},
            }
            return [kind for kind, waits in kinds.items() if waits]

        try:
            await until(lambda: not stopped() or self._failed(), seconds=180)
        except TimeoutError:
            raise NoProgress(f"no progress: {stopped()}; {seen.violations}; {dict(seen.ends)}") from None
        if self._failed():
            raise NoProgress(f"{seen.violations}; {[task for task in self._tasks if task.done()]}")

    def _failed(self) -> bool:
        return bool(self.observations.violations) or any(task.done() for task in self._tasks)

    @property
    def _followed(self) -> str:
        return next(iter(self._shops))

    async def _sync_again_and_again(self, shop: pb.ShopRef, random: Random, delay_seconds: float) -> None:
        await asyncio.sleep(delay_seconds)
        while not self._stopping:
            mode = pb.Sync.MODE_INCREMENTAL if random.random() < 0.3 else pb.Sync.MODE_FULL
            await self._sync(shop, mode)
            change(self._store.catalog(shop.domain), random)

    async def _sync(self, shop: pb.ShopRef, mode: pb.Sync.Mode.ValueType) -> None:
        try:
            sync = await self._client.start_sync(shop, mode=mode)
            end = await self._watch(sync)
        except Exception as error:
            self.observations.violations.append(f"sync of {shop.domain}: {error!r}")
            raise
        if end.state == pb.Sync.STATE_SUCCEEDED:
            self.observations.syncs += 1
        else:
            state = pb.Sync.State.Name(end.state)
            self.observations.violations.append(f"sync of {shop.domain} ended {state}: {end.error.message}")

    async def _watch(self, sync: pb.Sync) -> pb.Sync:
        """Watch the sync with one call after the other, and return its last snapshot."""
        stub, last = CatalogServiceStub(self._retrying), sync
        while True:
            reason = ""
            call = stub.WatchSync(pb.WatchSyncRequest(sync_id=sync.sync_id, after_revision=last.revision))
            try:
                async for message in call:
                    self._check_order(last, message.sync)
                    last = message.sync
                    reason = pb.WatchSyncResponse.ReconnectReason.Name(message.reconnect_reason)
                    reason = reason.removeprefix("RECONNECT_REASON_").replace("UNSPECIFIED", "")
                self.observations.ends["WatchSync", "OK", reason] += 1
                if last.state in _ENDED:
                    return last
                if not reason:
                    self.observations.violations.append(f"a watch of {sync.sync_id} ended without a reason")
            except grpc.aio.AioRpcError as error:
                self.observations.count_error("WatchSync", await read_failure(error, call))
                await asyncio.sleep(_PAUSE_SECONDS)

    def _check_order(self, last: pb.Sync, sync: pb.Sync) -> None:
        before, after = last.progress, sync.progress
        pairs = {
            "revision": (last.revision, sync.revision),
            "products": (before.products.seen_count, after.products.seen_count),
            "items": (before.items.seen_count, after.items.seen_count),
        }
        self.observations.violations += [
            f"{name} of sync {sync.sync_id} went from {old} to {new}"
            for name, (old, new) in pairs.items()
            if new < old
        ]

    async def _read(self, kind: str, stub: CatalogServiceStub) -> None:
        """Call unary methods at a steady rate, and check that the counts of shops do not go backwards."""
        counts: dict[str, int] = {}
        while True:
            for shop in self._shops.values():
                await self._read_once(kind, self._check_count(stub, shop, counts))
                await asyncio.sleep(_READ_INTERVAL_SECONDS)
                page = pb.ListItemsRequest(shop=shop, page_size=10)
                await self._read_once(kind, stub.ListItems(page, timeout=_CALL_TIMEOUT_SECONDS))
                await asyncio.sleep(_READ_INTERVAL_SECONDS)

    async def _read_once(self, kind: str, call: Awaitable[object]) -> None:
        try:
            await call
        except grpc.aio.AioRpcError as error:
            failure = read_failure_now(error)
            self.observations.count_error(f"unary call {kind}", failure, error.debug_error_string() or "")
        else:
            self.observations.ends[f"unary call {kind}", "OK", ""] += 1
            self.observations.reads[kind] += 1

    async def _check_count(self, stub: CatalogServiceStub, shop: pb.ShopRef, counts: dict[str, int]) -> None:
        status = await stub.GetStatus(pb.GetStatusRequest(shop=shop), timeout=_CALL_TIMEOUT_SECONDS)
        before = counts.get(shop.domain, 0)
        if status.item_count < before:
            self.observations.violations.append(f"{shop.domain} had {before} items, and then {status.item_count}")
        counts[shop.domain] = status.item_count

    async def _follow_changes(self, stub: CatalogServiceStub) -> None:
        """Follow the changes of all shops by bare calls, to count how they end."""
        position = ""
        while True:
            reason = ""
            call = stub.WatchChanges(pb.WatchChangesRequest(after_position=position))
            try:
                async for message in call:
                    position = message.position or position
                    self.observations.changes += 1
                    reason = pb.WatchSyncResponse.ReconnectReason.Name(message.reconnect_reason)
                self.observations.ends["WatchChanges", "OK", reason.removeprefix("RECONNECT_REASON_")] += 1
            except grpc.aio.AioRpcError as error:
                self.observations.count_error("WatchChanges", await read_failure(error, call))
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _compare_copy(self) -> None:
        """Wait until the copy equals the items that the catalog lists."""
        request = pb.ListItemsRequest(shop=self._shops[self._followed], page_size=1000)
        async with aclosing(self._client.items(request)) as pages:
            listed = {item.item_id: item async for item in pages}
        with suppress(TimeoutError):
            await until(lambda: self._copy.items == listed)
        if self._copy.items != listed:
            missing, extra = listed.keys() - self._copy.items.keys(), self._copy.items.keys() - listed.keys()
            self.observations.violations.append(f"the copy lacks {len(missing)} items and has {len(extra)} others")


def change(catalog: Catalog, random: Random) -> None:
    """Change three products of a shop and add one."""
    for row in random.sample(list(catalog.rows()), 3):
        product = catalog.product(row.id)
        if product is not None and product.variants:
            price = f"{random.randrange(100, 99_999) / 100:.2f}"
            catalog.update_variant(random.choice(product.variants).id, price=price, stock=random.randrange(500))
    catalog.add_product(sku=f"NEW-{random.randrange(10**6):06d}", stock=random.randrange(500))


def _without_timeouts(config: str, *, retries: bool) -> str:
    """Return the service config without its timeouts, which a machine that is busy with the load may exceed."""
    parsed = json.loads(config)
    for method in parsed["methodConfig"]:
        method.pop("timeout", None)
        if not retries:
            method.pop("retryPolicy", None)
    return json.dumps(parsed)
