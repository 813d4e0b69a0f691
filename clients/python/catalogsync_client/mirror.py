"""Keeps a copy of a shop's items true: the items and the position of the feed are stored in one transaction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import NoReturn, Protocol

from catalogsync.catalog.v1.catalog_service_pb2 import Item

from catalogsync_client.client import CatalogClient
from catalogsync_client.reasons import PositionExpired
from catalogsync_client.resuming_stream import ConnectionCallback
from catalogsync_client.retry_policy import RetryPolicy
from catalogsync_client.shop import ShopLike


@dataclass(frozen=True, kw_only=True, slots=True)
class MirrorState:
    """Where a copy of a shop's items is in the feed. The default is that of an empty copy."""

    position: str = ""
    """Of the last stored batch; "": none of this snapshot is stored yet."""
    snapshot: int = 1
    """Counts how often the copy was begun from the start."""
    in_snapshot: bool = True
    """Whether the copy does not have all items yet that existed when its snapshot began."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MirrorBatch:
    """What to store in one transaction."""

    items: Sequence[Item]
    """Replace each by its id; one with a delete_time is deleted. Store `state.snapshot` with each."""
    state: MirrorState
    """Store this with the items."""
    completes_snapshot: bool = False
    """Whether everything that exists has been stored since the snapshot began: after the items, remove the rows
    whose stored snapshot is lower than `state.snapshot`."""


class MirrorStore(Protocol):
    """The copy, in a database of the consumer."""

    async def load(self) -> MirrorState:
        """Return the stored state; MirrorState() if there is none."""
        ...

    async def store(self, batch: MirrorBatch) -> None:
        """Store the batch in one transaction."""
        ...


async def mirror_items(
    client: CatalogClient,
    shop: ShopLike,
    store: MirrorStore,
    *,
    on_connection: ConnectionCallback | None = None,
    retry_policy: RetryPolicy | None = None,
) -> NoReturn:
    """Keep the copy true until this task is cancelled.

    The process may be killed at any time: the copy continues after its last transaction, no change is missed, and
    one that is stored twice changes nothing. When the position has expired (the consumer was away for longer than
    deletions are kept, or the catalog was restored from a backup), the copy is read again from the start; until it
    is complete, the old rows stay.

    Args:
        client: reads the feed.
        shop: whose items.
        store: the copy.
        on_connection: called with a Disconnect when the stream broke, and with None when messages arrive again.
        retry_policy: time limits and backoff; None: transient errors are retried without end.

    Raises:
        CatalogSyncError: the feed cannot be read, for a reason that is not transient.
        Exception: what the store raises.
    """
    policy = retry_policy or RetryPolicy(give_up_seconds=math.inf)
    while True:
        try:
            state = await store.load()
            feed = client.watch_items(
                shop, after_position=state.position, on_connection=on_connection, retry_policy=policy
            )
            async with aclosing(feed) as messages:
                async for message in messages:
                    completes = state.in_snapshot and message.caught_up
                    state = replace(
                        state, position=message.position, in_snapshot=state.in_snapshot and not completes
                    )
                    await store.store(MirrorBatch(items=message.items, state=state, completes_snapshot=completes))
        except PositionExpired:
            state = await store.load()
            begun = MirrorState(snapshot=state.snapshot + 1)
            await store.store(MirrorBatch(items=(), state=begun))
