"""A sync at one revision, encoded once for all browsers that get it."""

from __future__ import annotations

from dataclasses import dataclass, field

from catalogsync.catalog.v1.catalog_service_pb2 import Sync
from catalogsync_client import has_ended

from catalogsync_bff.json_form import encode, to_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A sync at one revision."""

    sync_id: str
    shop_id: str
    revision: int
    queue_position: int | None
    """Changes without a new revision."""
    has_ended: bool
    created_at: float
    """Unix time."""
    payload: bytes = field(repr=False)
    """JSON."""

    @classmethod
    def of(cls, sync: Sync) -> Snapshot:
        """Return the snapshot of a message."""
        return cls(
            sync_id=sync.sync_id,
            shop_id=sync.shop.shop_id,
            revision=sync.revision,
            queue_position=sync.queue_position if sync.HasField("queue_position") else None,
            has_ended=has_ended(sync),
            created_at=sync.create_time.seconds + sync.create_time.nanos / 1e9,
            payload=encode(to_json(sync)),
        )

    def replaces(self, known: Snapshot | None) -> bool:
        """Return whether a reader of another snapshot of the sync must get this one: revisions never fall."""
        if known is None or self.revision > known.revision:
            return True
        return self.revision == known.revision and self.queue_position not in (None, known.queue_position)
