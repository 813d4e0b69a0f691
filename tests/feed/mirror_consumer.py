"""examples/search-indexer with all cells: `python -m tests.feed.mirror_consumer SHOP FILE`, until it is killed.

The code that follows the feed is that of the example. Beside its index it stores each item as it was received.
"""

from __future__ import annotations

import asyncio
import sys

import indexer
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_client import MirrorBatch

_SCHEMA = """
    CREATE TABLE IF NOT EXISTS received (item_id TEXT PRIMARY KEY, message BLOB);
    CREATE TABLE IF NOT EXISTS expired (position TEXT);
"""


class Mirror(indexer.Index):
    """The index, and the message of each of its items."""

    def __init__(self, file: str) -> None:
        super().__init__(file)
        self._database.executescript(_SCHEMA)

    async def store(self, batch: MirrorBatch) -> None:
        """Store the batch; where it begins another snapshot, keep the position that has expired."""
        if not batch.state.position:
            with self._database:
                self._database.execute("INSERT INTO expired SELECT position FROM feed")
        await super().store(batch)

    def _add(self, item: pb.Item, snapshot: int) -> None:
        super()._add(item, snapshot)
        values = (item.item_id, item.SerializeToString())
        self._database.execute("INSERT OR REPLACE INTO received VALUES (?, ?)", values)


if __name__ == "__main__":
    # The rest is the example as it is.
    indexer.__dict__["Index"] = Mirror
    asyncio.run(indexer.main(*sys.argv[1:]))
