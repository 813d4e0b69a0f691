"""What goes on while things break: catalogs change, syncs are started again and again, watchers watch."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar
from uuid import uuid4

import grpc
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_common.status import ReceivedFailure, read_failure, read_failure_now
from google.rpc import error_details_pb2

T = TypeVar("T")
ENDED = frozenset({pb.Sync.STATE_SUCCEEDED, pb.Sync.STATE_FAILED, pb.Sync.STATE_CANCELLED})
_ANSWERS = frozenset({"SYNC_ALREADY_RUNNING", "SYNC_NOT_CANCELLABLE", "SYNC_NOT_RESUMABLE"})
_CALL_TIMEOUT = 4.0
_SILENCE = 15.0
"""Seconds; a watch promises a heartbeat every 10."""


class Notes:
    """What clients saw."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        """What no client may see."""
        self.failed: Counter[str] = Counter()
        """Reasons of syncs that failed."""
        self.counts: Counter[str] = Counter()
        self.snapshots: list[tuple[str, int, float]] = []
        """Sync, revision and when it arrived, of each snapshot that told something new."""


class Clients:
    """Clients of all replicas, each call by a random one."""

    def __init__(self, stubs: dict[str, CatalogServiceStub], notes: Notes, random: Random) -> None:
        self._stubs = stubs
        self._notes = notes
        self._random = random

    def any(self) -> CatalogServiceStub:
        """A random replica, dead or alive."""
        return self._random.choice(list(self._stubs.values()))

    async def start(self, shop: pb.Shop, mode: pb.Sync.Mode.ValueType, *, allow_mass_delete: bool) -> pb.Sync:
        """A new sync of the shop, or the one that is running, by whichever replica takes the order."""
        request = pb.StartSyncRequest(
            shop=shop, mode=mode, request_id=str(uuid4()), allow_mass_delete=allow_mass_delete
        )
        try:
            sync = (await self._ask(lambda stub: stub.StartSync(request, timeout=_CALL_TIMEOUT))).sync
        except Refused as refused:
            if refused.failure.reason != "SYNC_ALREADY_RUNNING":
                raise
            return await self.get(refused.failure.metadata["sync_id"])
        if self._random.random() < 0.3:
            again = (await self._ask(lambda stub: stub.StartSync(request, timeout=_CALL_TIMEOUT))).sync
            self._check_same(sync, again)
        return sync

    async def cancel(self, sync_id: str) -> None:
        """Ends the sync, unless it has ended already."""
        request = pb.CancelSyncRequest(sync_id=sync_id)
        try:
            await self._ask(lambda stub: stub.CancelSync(request, timeout=_CALL_TIMEOUT))
        except Refused as refused:
            if refused.failure.reason != "SYNC_NOT_CANCELLABLE":
                raise

    async def resume(self, sync_id: str) -> pb.Sync | None:
        """A new sync that goes on; None: there is nothing to go on from."""
        request = pb.ResumeSyncRequest(sync_id=sync_id, request_id=str(uuid4()))
        try:
            return (await self._ask(lambda stub: stub.ResumeSync(request, timeout=_CALL_TIMEOUT))).sync
        except Refused as refused:
            if refused.failure.reason != "SYNC_NOT_RESUMABLE":
                raise
            return None

    async def get(self, sync_id: str) -> pb.Sync:
        """The sync, by whichever replica answers."""
        request = pb.GetSyncRequest(sync_id=sync_id)
        return (await self._ask(lambda stub: stub.GetSync(request, timeout=_CALL_TIMEOUT))).sync

    async def watch(self, sync_id: str) -> pb.Sync:
        """The sync as it ended, followed by one replica after the other."""
        seen = 0
        while True:
            request = pb.WatchSyncRequest(sync_id=sync_id, after_revision=seen)
            call = self.any().WatchSync(request)
            self._notes.counts["watches"] += 1
            try:
                while True:
                    message = await asyncio.wait_for(call.read(), _SILENCE)
                    if not isinstance(message, pb.WatchSyncResponse):
                        self._notes.faults.append(
                            f"watch of {sync_id} ended OK at {seen}, without an end of the sync"
                        )
                        break
                    self._check_order(sync_id, seen, message)
                    if message.sync.revision > seen:
                        seen = message.sync.revision
                        self._notes.snapshots.append((sync_id, seen, time.time()))
                    if message.sync.state in ENDED:
                        return message.sync
            except TimeoutError:
                self._notes.counts["silent_watches"] += 1
            except grpc.aio.AioRpcError as error:
                self._check_refusal("WatchSync", await read_failure(error, call))
            finally:
                call.cancel()
            await asyncio.sleep(self._random.uniform(0.05, 0.3))

    def _check_order(self, sync_id: str, seen: int, message: pb.WatchSyncResponse) -> None:
        revision = message.sync.revision
        if revision < seen or (revision == seen and not message.heartbeat):
            self._notes.faults.append(f"watch of {sync_id} went from revision {seen} to {revision}")

    def _check_same(self, first: pb.Sync, again: pb.Sync) -> None:
        if again.sync_id != first.sync_id:
            self._notes.faults.append(f"one request_id ordered {first.sync_id} and {again.sync_id}")

    async def _ask(self, call: Callable[[CatalogServiceStub], Awaitable[T]]) -> T:
        while True:
            try:
                return await call(self.any())
            except grpc.aio.AioRpcError as error:
                failure = read_failure_now(error)
                if failure.reason in _ANSWERS:
                    raise Refused(failure) from error
                self._check_refusal("call", failure)
            await asyncio.sleep(self._random.uniform(0.05, 0.3))

    def _check_refusal(self, what: str, failure: ReceivedFailure) -> None:
        self._notes.counts["refused_calls"] += 1
        if not failure.is_transient and failure.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
            said = f"{failure.code.name} {failure.reason}: {failure.message}"
            self._notes.faults.append(f"{what} was refused for good: {said}")


class Refused(Exception):
    """A refusal that a caller has to expect."""

    def __init__(self, failure: ReceivedFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class ShopDriver:
    """Syncs one shop again and again, with two watchers each time."""

    def __init__(self, shop: pb.Shop, clients: Clients, notes: Notes, random: Random) -> None:
        self.shop = shop
        self._clients = clients
        self._notes = notes
        self._random = random
        self._stopping = False
        self._allow_mass_delete = False

    async def run(self) -> None:
        """Until told to stop and the last sync has ended."""
        while not self._stopping:
            incremental = self._random.random() < 0.25
            end = await self.once(pb.Sync.MODE_INCREMENTAL if incremental else pb.Sync.MODE_FULL, whim=True)
            if end.state == pb.Sync.STATE_CANCELLED and self._random.random() < 0.7:
                await self._resume(end)
            await asyncio.sleep(self._random.uniform(0, 0.3))

    async def once(self, mode: pb.Sync.Mode.ValueType, *, whim: bool = False) -> pb.Sync:
        """One sync, as all its watchers saw it end; on a whim it is cancelled meanwhile."""
        sync = await self._clients.start(self.shop, mode, allow_mass_delete=self._allow_mass_delete)
        cancelling = whim and self._random.random() < 0.12
        cancel = asyncio.create_task(self._cancel_later(sync.sync_id)) if cancelling else None
        end = await self._follow(sync)
        if cancel is not None:
            await cancel
        return end

    async def _cancel_later(self, sync_id: str) -> None:
        await asyncio.sleep(self._random.uniform(0.2, 3))
        await self._clients.cancel(sync_id)
        self._notes.counts["cancels"] += 1

    async def _resume(self, end: pb.Sync) -> None:
        sync = await self._clients.resume(end.sync_id)
        if sync is not None:
            self._notes.counts["resumes"] += 1
            await self._follow(sync)

    async def _follow(self, sync: pb.Sync) -> pb.Sync:
        ends = await asyncio.gather(*(self._clients.watch(sync.sync_id) for _ in range(2)))
        self._notes.counts["syncs"] += 1
        if len({(end.state, end.revision) for end in ends}) != 1:
            self._notes.faults.append(f"watchers of {sync.sync_id} saw different ends")
        if ends[0].state != pb.Sync.STATE_SUCCEEDED:
            self._notes.failed[_reason_of(ends[0])] += 1
        self._allow_mass_delete = _reason_of(ends[0]) == "MASS_DELETE_BLOCKED"
        return ends[0]

    def stop(self) -> None:
        """No further sync."""
        self._stopping = True


def _reason_of(sync: pb.Sync) -> str:
    if sync.state == pb.Sync.STATE_CANCELLED:
        return "CANCELLED"
    info = error_details_pb2.ErrorInfo()
    for detail in sync.error.details:
        if detail.Unpack(info):
            return str(info.reason)
    return str(sync.error.message)
