"""The load during a chaos run: shops are synced again and again, cancelled, resumed and watched."""

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
FINAL_STATES = frozenset({pb.Sync.STATE_SUCCEEDED, pb.Sync.STATE_FAILED, pb.Sync.STATE_CANCELLED})
_EXPECTED_REASONS = frozenset({"SYNC_ALREADY_RUNNING", "SYNC_NOT_CANCELLABLE", "SYNC_NOT_RESUMABLE"})
_CALL_TIMEOUT_SECONDS = 4.0
_MAX_SILENCE_SECONDS = 15.0
"""Without any message of a watch, which promises a heartbeat every 10 seconds."""


class Observations:
    """What the clients observed."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        """What no client may observe."""
        self.failed_syncs: Counter[str] = Counter()
        """By reason."""
        self.counts: Counter[str] = Counter()
        self.snapshots: list[tuple[str, int, float]] = []
        """Sync id, revision and Unix time of arrival of each snapshot with a new revision."""


class Clients:
    """Clients of the catalog, which send each call to a random replica."""

    def __init__(self, stubs: dict[str, CatalogServiceStub], observations: Observations, random: Random) -> None:
        self._stubs = stubs
        self._observations = observations
        self._random = random

    def random_stub(self) -> CatalogServiceStub:
        """Return the stub of a random replica, whether it is up or not."""
        return self._random.choice(list(self._stubs.values()))

    async def start(self, shop: pb.ShopRef, mode: pb.Sync.Mode.ValueType, *, allow_mass_delete: bool) -> pb.Sync:
        """Start a sync of the shop and return it; if one is already running, return that one."""
        request = pb.StartSyncRequest(
            shop=shop, mode=mode, request_id=str(uuid4()), allow_mass_delete=allow_mass_delete
        )
        try:
            sync = (await self._call(lambda stub: stub.StartSync(request, timeout=_CALL_TIMEOUT_SECONDS))).sync
        except ExpectedRejection as rejection:
            if rejection.failure.reason != "SYNC_ALREADY_RUNNING":
                raise
            return await self.get(rejection.failure.metadata["sync_id"])
        if self._random.random() < 0.3:
            again = (await self._call(lambda stub: stub.StartSync(request, timeout=_CALL_TIMEOUT_SECONDS))).sync
            self._check_same_sync(sync, again)
        return sync

    async def cancel(self, sync_id: str) -> None:
        """Cancel the sync, unless it has already ended."""
        request = pb.CancelSyncRequest(sync_id=sync_id)
        try:
            await self._call(lambda stub: stub.CancelSync(request, timeout=_CALL_TIMEOUT_SECONDS))
        except ExpectedRejection as rejection:
            if rejection.failure.reason != "SYNC_NOT_CANCELLABLE":
                raise

    async def resume(self, sync_id: str) -> pb.Sync | None:
        """Resume the sync and return the new one; None: it is not resumable."""
        request = pb.ResumeSyncRequest(sync_id=sync_id, request_id=str(uuid4()))
        try:
            return (await self._call(lambda stub: stub.ResumeSync(request, timeout=_CALL_TIMEOUT_SECONDS))).sync
        except ExpectedRejection as rejection:
            if rejection.failure.reason != "SYNC_NOT_RESUMABLE":
                raise
            return None

    async def get(self, sync_id: str) -> pb.Sync:
        """Return the sync."""
        request = pb.GetSyncRequest(sync_id=sync_id)
        return (await self._call(lambda stub: stub.GetSync(request, timeout=_CALL_TIMEOUT_SECONDS))).sync

    async def watch(self, sync_id: str) -> pb.Sync:
        """Watch the sync, on another replica after each end of a stream, and return it in its final state."""
        seen_revision = 0
        while True:
            must_reconnect = False
            request = pb.WatchSyncRequest(sync_id=sync_id, after_revision=seen_revision)
            call = self.random_stub().WatchSync(request)
            self._observations.counts["watches"] += 1
            try:
                while True:
                    message = await asyncio.wait_for(call.read(), _MAX_SILENCE_SECONDS)
                    if not isinstance(message, pb.WatchSyncResponse):
                        if not must_reconnect:
                            self._observations.violations.append(
                                f"watch of {sync_id} ended OK at revision {seen_revision}, before the sync ended"
                            )
                        break
                    must_reconnect = bool(message.reconnect_reason)
                    self._check_order(sync_id, seen_revision, message)
                    if message.sync.revision > seen_revision:
                        seen_revision = message.sync.revision
                        self._observations.snapshots.append((sync_id, seen_revision, time.time()))
                    if message.sync.state in FINAL_STATES:
                        return message.sync
            except TimeoutError:
                self._observations.counts["silent_watches"] += 1
            except grpc.aio.AioRpcError as error:
                self._check_error("WatchSync", await read_failure(error, call))
            finally:
                call.cancel()
            if not must_reconnect:
                await asyncio.sleep(self._random.uniform(0.05, 0.3))

    def _check_order(self, sync_id: str, seen_revision: int, message: pb.WatchSyncResponse) -> None:
        revision = message.sync.revision
        if revision < seen_revision or (revision == seen_revision and not message.heartbeat):
            self._observations.violations.append(
                f"watch of {sync_id} went from revision {seen_revision} to {revision}"
            )

    def _check_same_sync(self, first: pb.Sync, again: pb.Sync) -> None:
        if again.sync_id != first.sync_id:
            self._observations.violations.append(f"one request_id started {first.sync_id} and {again.sync_id}")

    async def _call(self, call: Callable[[CatalogServiceStub], Awaitable[T]]) -> T:
        while True:
            try:
                return await call(self.random_stub())
            except grpc.aio.AioRpcError as error:
                failure = read_failure_now(error)
                if failure.reason in _EXPECTED_REASONS:
                    raise ExpectedRejection(failure) from error
                self._check_error("call", failure)
            await asyncio.sleep(self._random.uniform(0.05, 0.3))

    def _check_error(self, call: str, failure: ReceivedFailure) -> None:
        self._observations.counts["failed_calls"] += 1
        if not failure.is_transient and failure.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
            description = f"{failure.code.name} {failure.reason}: {failure.message}"
            self._observations.violations.append(f"{call} failed with a permanent error: {description}")


class ExpectedRejection(Exception):
    """An error that the state of the sync explains."""

    def __init__(self, failure: ReceivedFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class ShopDriver:
    """Syncs one shop again and again, with two watchers of each sync."""

    def __init__(self, shop: pb.ShopRef, clients: Clients, observations: Observations, random: Random) -> None:
        self.shop = shop
        self._clients = clients
        self._observations = observations
        self._random = random
        self._stopping = False
        self._allow_mass_delete = False

    async def run(self) -> None:
        """Sync until `stop()` was called and the last sync has ended."""
        while not self._stopping:
            incremental = self._random.random() < 0.25
            mode = pb.Sync.MODE_INCREMENTAL if incremental else pb.Sync.MODE_FULL
            end = await self.run_sync(mode, may_cancel=True)
            if end.state == pb.Sync.STATE_CANCELLED and self._random.random() < 0.7:
                await self._resume(end)
            await asyncio.sleep(self._random.uniform(0, 0.3))

    async def run_sync(self, mode: pb.Sync.Mode.ValueType, *, may_cancel: bool = False) -> pb.Sync:
        """Run one sync and return it in its final state.

        Args:
            mode: Of the sync.
            may_cancel: Whether to cancel it with a probability of 12 %.
        """
        sync = await self._clients.start(self.shop, mode, allow_mass_delete=self._allow_mass_delete)
        cancelling = may_cancel and self._random.random() < 0.12
        cancel = asyncio.create_task(self._cancel_later(sync.sync_id)) if cancelling else None
        end = await self._watch_to_end(sync)
        if cancel is not None:
            await cancel
        return end

    async def _cancel_later(self, sync_id: str) -> None:
        await asyncio.sleep(self._random.uniform(0.2, 3))
        await self._clients.cancel(sync_id)
        self._observations.counts["cancels"] += 1

    async def _resume(self, end: pb.Sync) -> None:
        sync = await self._clients.resume(end.sync_id)
        if sync is not None:
            self._observations.counts["resumes"] += 1
            await self._watch_to_end(sync)

    async def _watch_to_end(self, sync: pb.Sync) -> pb.Sync:
        ends = await asyncio.gather(*(self._clients.watch(sync.sync_id) for _ in range(2)))
        self._observations.counts["syncs"] += 1
        if len({(end.state, end.revision) for end in ends}) != 1:
            self._observations.violations.append(f"watchers of {sync.sync_id} saw different final states")
        if ends[0].state != pb.Sync.STATE_SUCCEEDED:
            self._observations.failed_syncs[_reason(ends[0])] += 1
        self._allow_mass_delete = _reason(ends[0]) == "MASS_DELETE_BLOCKED"
        return ends[0]

    def stop(self) -> None:
        """Start no further sync."""
        self._stopping = True


def _reason(sync: pb.Sync) -> str:
    if sync.state == pb.Sync.STATE_CANCELLED:
        return "CANCELLED"
    info = error_details_pb2.ErrorInfo()
    for detail in sync.error.details:
        if detail.Unpack(info):
            return str(info.reason)
    return str(sync.error.message)
