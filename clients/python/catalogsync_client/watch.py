"""Watches a sync until it ends, reconnecting whenever the WatchSync stream breaks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeAlias

from catalogsync.catalog.v1.catalog_service_pb2 import Sync, WatchSyncResponse
from catalogsync_common.status import ReceivedFailure

from catalogsync_client.caller import OpenStream
from catalogsync_client.resuming_stream import ConnectionCallback, ResumingStream, has_no_other_token
from catalogsync_client.retry_policy import RetryPolicy
from catalogsync_client.sync_state import has_ended

WatchCall: TypeAlias = OpenStream[WatchSyncResponse]


async def watch(
    open_call: Callable[[int], Awaitable[WatchCall]],
    *,
    callee: str,
    after_revision: int = 0,
    on_connection: ConnectionCallback | None = None,
    retry_policy: RetryPolicy,
    renew_token: Callable[[], Awaitable[bool]] = has_no_other_token,
) -> AsyncGenerator[Sync, None]:
    """Watch a sync until it ends; the terminal snapshot is never missed.

    Args:
        open_call: makes one WatchSync call, given `after_revision`.
        callee: name and address of the service, for error messages.
        after_revision: the last revision that the caller has; 0: none.
        on_connection: told of broken and of new streams.
        retry_policy: time limits and backoff.
        renew_token: returns whether the next call would send another token than the last one.

    Yields:
        Snapshots with growing revision, the terminal one last. While the sync is PENDING, also those of the same
        revision with another position in the queue.

    Raises:
        CatalogSyncError: the error is not transient, or no message arrived for `give_up_seconds`.
    """
    revision, queue_position = after_revision, None

    def starts_over(failure: ReceivedFailure) -> bool:
        nonlocal revision
        if failure.reason != "REVISION_IN_FUTURE" or not revision:
            return False
        # The catalog was restored from a backup: the revisions that were seen no longer exist.
        revision = 0
        return True

    stream: ResumingStream[WatchSyncResponse] = ResumingStream(
        lambda: open_call(revision),
        callee=callee,
        retry_policy=retry_policy,
        on_connection=on_connection,
        renew_token=renew_token,
        starts_over=starts_over,
    )
    async with aclosing(stream.messages()) as messages:
        async for message in messages:
            sync = message.sync
            position = sync.queue_position if sync.HasField("queue_position") else None
            moved = sync.revision == revision and position not in (None, queue_position)
            if sync.revision > revision or moved or has_ended(sync):
                revision, queue_position = sync.revision, position
                yield sync
            if has_ended(sync):
                return
