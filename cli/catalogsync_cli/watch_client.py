"""Watches a sync until it ends, reconnecting whenever the WatchSync stream breaks."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc
from catalogsync.catalog.v1.catalog_service_pb2 import Sync, WatchSyncResponse
from catalogsync_common.status import ReceivedFailure, read_failure

from catalogsync_cli.errors import CallFailed
from catalogsync_cli.formatting import has_ended

Stream = grpc.aio.UnaryStreamCall[Any, WatchSyncResponse]


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """Time limits and backoff of a watch."""

    stall_seconds: float = 60.0
    """Time without a message after which a stream counts as dead: two heartbeats, which come every 30 s."""
    give_up_seconds: float = 300.0
    """Time without a message over all attempts after which the last error is raised."""
    initial_backoff_seconds: float = 0.5
    """Upper bound of the first backoff; doubled after each attempt that brought no message."""
    max_backoff_seconds: float = 15.0

    def backoff_seconds(self, failure: ReceivedFailure, *, attempts: int) -> float:
        """Return the time until the next attempt: what the server asked for, and full jitter.

        Args:
            failure: the error of the last attempt.
            attempts: how many attempts had failed in a row before it.
        """
        ceiling = min(self.initial_backoff_seconds * 2 ** min(attempts, 16), self.max_backoff_seconds)
        requested = failure.retry_after.total_seconds() if failure.retry_after is not None else 0.0
        return requested + random.uniform(0, ceiling)


@dataclass(frozen=True, kw_only=True, slots=True)
class Disconnect:
    """A broken stream that will be opened again."""

    failure: ReceivedFailure
    backoff_seconds: float
    """Time until the next attempt."""


ConnectionCallback = Callable[[Disconnect | None], None]
"""Called with a Disconnect when a stream broke, and with None when messages arrive again."""


async def watch(
    open_stream: Callable[[int], Stream],
    *,
    callee: str,
    after_revision: int = 0,
    on_connection: ConnectionCallback | None = None,
    retry_policy: RetryPolicy,
    has_fresh_token: Callable[[], bool] = lambda: False,
) -> AsyncGenerator[Sync, None]:
    """Watch a sync until it ends; the terminal snapshot is never missed.

    A stream whose last message has a reconnect_reason (it reached its maximum age, or its replica drains) is
    followed by another one at once. A stream that broke or stalled is followed by another one after a backoff with
    full jitter, but not sooner than the server asked for. Every call is cancelled when the generator is closed.

    Args:
        open_stream: makes one WatchSync call, given `after_revision`.
        callee: name and address of the service, for error messages.
        on_connection: told of broken and of new streams.
        retry_policy: time limits and backoff.
        has_fresh_token: returns whether the next call would send another token than the last one; then a stream
            whose token has expired is followed by another one.

    Yields:
        Snapshots with growing revision, the terminal one last. While the sync is PENDING, also those of the same
        revision with another position in the queue.

    Raises:
        CallFailed: the error is not transient, or no message arrived for `give_up_seconds`.
    """
    watcher = _Watcher(
        after_revision,
        callee=callee,
        retry_policy=retry_policy,
        on_connection=on_connection,
        has_fresh_token=has_fresh_token,
    )
    while True:
        try:
            async with aclosing(watcher.snapshots(open_stream)) as snapshots:
                async for sync in snapshots:
                    yield sync
                    if has_ended(sync):
                        return
            if watcher.must_reconnect:
                continue
            failure = ReceivedFailure(code=grpc.StatusCode.UNAVAILABLE, message="the stream ended too early")
        except CallFailed as error:
            failure = error.failure
        backoff = watcher.backoff_after(failure)
        watcher.report_connection(Disconnect(failure=failure, backoff_seconds=backoff))
        await asyncio.sleep(backoff)


class _Watcher:
    """State that outlives a single stream: the last revision, the attempts, the time of the last message."""

    def __init__(
        self,
        revision: int,
        *,
        callee: str,
        retry_policy: RetryPolicy,
        on_connection: ConnectionCallback | None,
        has_fresh_token: Callable[[], bool],
    ) -> None:
        self._has_fresh_token = has_fresh_token
        self._revision = revision
        self._queue_position: int | None = None
        self._callee = callee
        self._retry_policy = retry_policy
        self._attempts = 0
        self._last_message_at = time.monotonic()
        self._on_connection = on_connection
        self._disconnected = False
        self.must_reconnect = False
        """Whether the last message of the current stream announced its end."""

    async def snapshots(self, open_stream: Callable[[int], Stream]) -> AsyncGenerator[Sync, None]:
        """Yield the snapshots of one stream that are new; a terminal one in any case."""
        self.must_reconnect = False
        call = open_stream(self._revision)
        try:
            while (message := await _read(call, self._retry_policy.stall_seconds, self._callee)) is not None:
                self._message_received()
                self.must_reconnect = message.reconnect_reason != WatchSyncResponse.RECONNECT_REASON_UNSPECIFIED
                sync = message.sync
                position = sync.queue_position if sync.HasField("queue_position") else None
                moved = sync.revision == self._revision and position not in (None, self._queue_position)
                if sync.revision > self._revision or moved or has_ended(sync):
                    self._revision, self._queue_position = sync.revision, position
                    yield sync
        finally:
            call.cancel()

    def _message_received(self) -> None:
        self._attempts = 0
        self._last_message_at = time.monotonic()
        if self._disconnected:
            self.report_connection(None)

    def report_connection(self, disconnect: Disconnect | None) -> None:
        """Call the callback with a disconnect, or with None after a reconnect."""
        self._disconnected = disconnect is not None
        if self._on_connection is not None:
            self._on_connection(disconnect)

    def backoff_after(self, failure: ReceivedFailure) -> float:
        """Return the seconds until the next attempt; raise CallFailed when there must be none."""
        if failure.reason == "REVISION_IN_FUTURE" and self._revision > 0:
            # The catalog was restored from a backup: the revisions that were seen no longer exist.
            self._revision = 0
            return 0.0
        if failure.reason == "TOKEN_EXPIRED" and self._has_fresh_token():
            return 0.0
        silence = time.monotonic() - self._last_message_at
        if not failure.is_transient or silence > self._retry_policy.give_up_seconds:
            raise CallFailed(failure)
        self._attempts += 1
        return self._retry_policy.backoff_seconds(failure, attempts=self._attempts - 1)


async def _read(call: Stream, stall_seconds: float, callee: str) -> WatchSyncResponse | None:
    """Return the next message, or None when the stream ended with OK; raise CallFailed for any other end."""
    try:
        async with asyncio.timeout(stall_seconds):
            message = await call.read()
    except TimeoutError:
        failure = ReceivedFailure(code=grpc.StatusCode.UNAVAILABLE, message=f"no message for {stall_seconds:g} s")
    except grpc.aio.AioRpcError as error:
        failure = await read_failure(error, call)
    else:
        return message if isinstance(message, WatchSyncResponse) else None
    raise CallFailed.of(failure, callee=callee)
