"""Snapshots as messages, each made once for all of its watchers."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final
from uuid import UUID

from catalogsync.catalog.v1 import catalog_service_pb2 as pb

from catalog_svc.domain.sync import Sync
from catalog_svc.rpc import convert
from catalog_svc.usecases.watch_sync import Snapshot

_MOST_KEPT: Final = 1_000
"""Messages of 500 bytes or so."""


class SnapshotMessages:
    """Remembers the latest message of each sync that is watched. Its messages are shared: do not change them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[UUID, bool], tuple[Sync, pb.WatchSyncResponse]] = OrderedDict()

    def of(self, snapshot: Snapshot) -> pb.WatchSyncResponse:
        """The message for one watcher."""
        key = (snapshot.sync.sync_id, snapshot.heartbeat)
        kept = self._kept.get(key)
        # The very object, not an equal one: comparing costs as much as converting.
        if kept is not None and kept[0] is snapshot.sync:
            return kept[1]
        message = pb.WatchSyncResponse(sync=convert.sync(snapshot.sync), heartbeat=snapshot.heartbeat)
        self._kept[key] = (snapshot.sync, message)
        self._kept.move_to_end(key)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return message
