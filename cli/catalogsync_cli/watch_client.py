"""Follows a sync over any number of broken streams until it has ended."""

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
    """How long a watcher waits, in seconds."""

    stall: float = 60.0
    """Without any message, after which a stream counts as dead: two heartbeats, of which one comes every 30 s."""
    give_up: float = 300.0
    """Without any message over all attempts, after which the last error is raised."""
    first_pause: float = 0.5
    """The longest pause before the first reconnect; it doubles with each attempt that brought nothing."""
    longest_pause: float = 15.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Break:
    """A stream broke; the next attempt follows."""

    failure: ReceivedFailure
    pause: float
    """Seconds until the next attempt."""


async def watch(
    open_stream: Callable[[int], Stream],
    *,
    callee: str,
    after_revision: int = 0,
    on_link: Callable[[Break | None], None] | None = None,
    patience: RetryPolicy,
) -> AsyncGenerator[Sync, None]:
    """Yields snapshots with growing revision and ends after the terminal one, which is never missed.

    `open_stream(after_revision)` makes one WatchSync call. A stream that broke, came of age, fell silent or ended
    early is followed by another one after a pause (full jitter, but not sooner than the server asked for). Raises
    CallFailed for an error that no repetition mends, or when patience ends. Every call is cancelled on leaving.
    `on_link` hears of each break, and gets None when messages come again.
    """
    watcher = _Watcher(after_revision, callee=callee, patience=patience, on_link=on_link)
    while True:
        try:
            async with aclosing(watcher.news(open_stream)) as news:
                async for sync in news:
                    yield sync
                    if has_ended(sync):
                        return
            failure = ReceivedFailure(code=grpc.StatusCode.UNAVAILABLE, message="the stream ended too early")
        except CallFailed as error:
            failure = error.failure
        pause = watcher.pause_after(failure)
        watcher.tell(Break(failure=failure, pause=pause))
        await asyncio.sleep(pause)


class _Watcher:
    """What is remembered from one stream to the next."""

    def __init__(
        self,
        revision: int,
        *,
        callee: str,
        patience: RetryPolicy,
        on_link: Callable[[Break | None], None] | None,
    ) -> None:
        self._revision = revision
        self._callee = callee
        self._patience = patience
        self._attempts = 0
        self._heard = time.monotonic()
        self._on_link = on_link
        self._broken = False

    async def news(self, open_stream: Callable[[int], Stream]) -> AsyncGenerator[Sync, None]:
        """The snapshots of one stream that were not seen before, a terminal one in any case."""
        call = open_stream(self._revision)
        try:
            while (message := await _read(call, self._patience.stall, self._callee)) is not None:
                self._hear()
                sync = message.sync
                if sync.revision > self._revision or has_ended(sync):
                    self._revision = sync.revision
                    yield sync
        finally:
            call.cancel()

    def _hear(self) -> None:
        self._attempts = 0
        self._heard = time.monotonic()
        if self._broken:
            self.tell(None)

    def tell(self, link: Break | None) -> None:
        """Passes on that the link broke, or (None) is whole again."""
        self._broken = link is not None
        if self._on_link is not None:
            self._on_link(link)

    def pause_after(self, failure: ReceivedFailure) -> float:
        """Seconds until the next attempt; raises CallFailed when there is to be none."""
        if failure.reason == "REVISION_IN_FUTURE" and self._revision > 0:
            # The catalog was restored from a backup: what was seen is no longer so.
            self._revision = 0
            return 0.0
        silence = time.monotonic() - self._heard
        if not failure.is_transient or silence > self._patience.give_up:
            raise CallFailed(failure)
        ceiling = self._patience.first_pause * 2 ** min(self._attempts, 16)
        self._attempts += 1
        pause = random.uniform(0, min(ceiling, self._patience.longest_pause))
        asked = failure.retry_after.total_seconds() if failure.retry_after is not None else 0.0
        return asked + pause


async def _read(call: Stream, stall: float, callee: str) -> WatchSyncResponse | None:
    """The next message; None: the stream ended with OK. Every other end is a CallFailed."""
    try:
        async with asyncio.timeout(stall):
            message = await call.read()
    except TimeoutError:
        failure = ReceivedFailure(code=grpc.StatusCode.UNAVAILABLE, message=f"silent for {stall:g} s")
    except grpc.aio.AioRpcError as error:
        failure = await read_failure(error, call)
    else:
        return message if isinstance(message, WatchSyncResponse) else None
    raise CallFailed.of(failure, callee=callee)
