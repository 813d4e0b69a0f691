"""The syncs of a subject as far as browsers show them: the active ones, and the latest ended one of each shop."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from catalogsync_bff.streams.snapshot import Snapshot

_MAX_ENDED: Final = 1_000
"""Shops with an ended sync; the latest ones are kept."""


class KnownSyncs:
    """Snapshots by sync, of which none is ever replaced by an older one."""

    def __init__(self) -> None:
        self.active: dict[str, Snapshot] = {}
        """By sync id."""
        self._ended: OrderedDict[str, Snapshot] = OrderedDict()
        """By shop id."""

    def __iter__(self) -> Iterator[Snapshot]:
        """Yield the ended ones, then the active ones."""
        yield from self._ended.values()
        yield from self.active.values()

    def apply(self, snapshot: Snapshot) -> bool:
        """Take a snapshot and return whether it replaces a known one."""
        ended = self._ended.get(snapshot.shop_id)
        known = ended if ended and ended.sync_id == snapshot.sync_id else self.active.get(snapshot.sync_id)
        if not snapshot.replaces(known):
            return False
        if not snapshot.has_ended:
            self.active[snapshot.sync_id] = snapshot
            return True
        self.active.pop(snapshot.sync_id, None)
        if ended is not None and ended.created_at > snapshot.created_at:
            return False
        self._ended[snapshot.shop_id] = snapshot
        self._ended.move_to_end(snapshot.shop_id)
        if len(self._ended) > _MAX_ENDED:
            self._ended.popitem(last=False)
        return True

    def remove_sync(self, sync_id: str) -> None:
        """Remove a sync."""
        self.active.pop(sync_id, None)
        for shop_id, snapshot in list(self._ended.items()):
            if snapshot.sync_id == sync_id:
                del self._ended[shop_id]

    def remove_shop(self, shop_id: str) -> list[str]:
        """Remove the syncs of a shop; return the ids of those that were active."""
        self._ended.pop(shop_id, None)
        removed = [one.sync_id for one in self.active.values() if one.shop_id == shop_id]
        for sync_id in removed:
            del self.active[sync_id]
        return removed
