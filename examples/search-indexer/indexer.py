"""Keeps a full-text index of a shop's items true, with catalogsync-client.

Usage: python indexer.py follow shopify:demo.myshopify.com index.db    (until Ctrl-C)
       python indexer.py search index.db linen shirt
Requires a running catalog, and the .venv that `make demo` creates (elsewhere: `pip install CHECKOUT/gen
CHECKOUT/common CHECKOUT/clients/python`).
CATALOG_ADDRESS is the catalog's address, CATALOG_SERVICE_SECRET this service's "name:secret" (`make demo` prints
its own).

The position of the feed is stored in the transaction that stores the items before it. So the index may be killed
at any time: it continues after the last stored position, no change is missed, and one that comes twice changes
nothing.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from contextlib import closing

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_client import (
    CatalogClient,
    MirrorBatch,
    MirrorState,
    NoCredentials,
    ServiceSecret,
    mirror_items,
)

SCHEMA = """
    CREATE TABLE IF NOT EXISTS item (
        rowid INTEGER PRIMARY KEY, item_id TEXT UNIQUE, title TEXT, sku TEXT, price TEXT, snapshot INTEGER);
    CREATE VIRTUAL TABLE IF NOT EXISTS item_text USING fts5 (title, sku);
    -- One row: where the feed continues, the number of the snapshot, and whether it is being read.
    CREATE TABLE IF NOT EXISTS feed (position TEXT, snapshot INTEGER, in_snapshot INTEGER);
    INSERT INTO feed SELECT '', 1, 1 WHERE NOT EXISTS (SELECT * FROM feed);
"""


class Index:
    """The index in SQLite. Each method is one transaction."""

    def __init__(self, file: str) -> None:
        self._database = sqlite3.connect(file)
        self._database.executescript(SCHEMA)

    def close(self) -> None:
        self._database.close()

    async def load(self) -> MirrorState:
        """Return where the index is in the feed."""
        position, snapshot, in_snapshot = self._database.execute("SELECT * FROM feed").fetchone()
        return MirrorState(position=position, snapshot=snapshot, in_snapshot=bool(in_snapshot))

    async def store(self, batch: MirrorBatch) -> None:
        """Store the items of a batch and the position after it."""
        with self._database:
            for item in batch.items:
                self._remove("SELECT rowid FROM item WHERE item_id = ?", item.item_id)
                if not item.HasField("delete_time"):
                    self._add(item, batch.state.snapshot)
            if batch.completes_snapshot:
                # Everything that exists has come since the snapshot began; the rest was deleted before.
                self._remove("SELECT rowid FROM item WHERE snapshot < ?", batch.state.snapshot)
            self._database.execute(
                "UPDATE feed SET position = ?, snapshot = ?, in_snapshot = ?",
                (batch.state.position, batch.state.snapshot, batch.state.in_snapshot),
            )
        if batch.items:
            print(f"{len(batch.items)} items{'' if batch.state.in_snapshot else ', caught up'}", flush=True)

    def search(self, words: str) -> list[tuple[str, str, str]]:
        """Return id, title and price of the best matches."""
        query = " ".join('"' + word.replace('"', '""') + '"' for word in words.split())
        return self._database.execute(
            "SELECT item.item_id, item.title, item.price FROM item_text JOIN item ON item.rowid = item_text.rowid "
            "WHERE item_text MATCH ? ORDER BY rank LIMIT 20",
            (query,),
        ).fetchall()

    def _remove(self, query: str, value: object) -> None:
        rowids = self._database.execute(query, (value,)).fetchall()
        self._database.executemany("DELETE FROM item_text WHERE rowid = ?", rowids)
        self._database.executemany("DELETE FROM item WHERE rowid = ?", rowids)

    def _add(self, item: pb.Item, snapshot: int) -> None:
        title = f"{item.product_title} {item.title}".strip()
        price = f"{item.price.amount} {item.price.currency_code}".strip()
        row = self._database.execute(
            "INSERT INTO item (item_id, title, sku, price, snapshot) VALUES (?, ?, ?, ?, ?)",
            (item.item_id, title, item.sku, price, snapshot),
        )
        self._database.execute(
            "INSERT INTO item_text (rowid, title, sku) VALUES (?, ?, ?)", (row.lastrowid, title, item.sku)
        )


async def main(shop: str, file: str) -> None:
    """Keep the index of the shop true until cancelled."""
    address = os.environ.get("CATALOG_ADDRESS", "127.0.0.1:50051")
    secret = os.environ.get("CATALOG_SERVICE_SECRET")
    credentials = ServiceSecret(secret) if secret else NoCredentials()
    with closing(Index(file)) as index:
        async with CatalogClient(address, credentials=credentials) as client:
            await mirror_items(client, shop, index)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["follow", shop_name, file]:
            asyncio.run(main(shop_name, file))
        case ["search", file, *words] if words:
            with closing(Index(file)) as found:
                for item_id, title, price in found.search(" ".join(words)):
                    print(f"{item_id}  {title}  {price}")
        case _:
            sys.exit(__doc__)
