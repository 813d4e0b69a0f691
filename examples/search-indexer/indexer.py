"""Keeps a full-text index of a shop's items true, with the generated stubs alone.

Usage: python indexer.py follow shopify:demo.myshopify.com index.db    (until Ctrl-C)
       python indexer.py search index.db linen shirt
Requires a running catalog, and the .venv that `make demo` creates (elsewhere: `pip install CHECKOUT/gen`).
CATALOG_ADDRESS is the catalog's address, CATALOG_SERVICE_SECRET this service's "name:secret" (`make demo` prints
its own).

The position of the feed is stored in the transaction that stores the items before it. So the index may be killed
at any time: it continues after the last stored position, no change is missed, and one that comes twice changes
nothing.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import sys
from contextlib import closing

import grpc
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from google.rpc import error_details_pb2, status_pb2

RETRYABLE_CODES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED)
STALL_SECONDS = 60.0  # The server sends a message at least every 30 s.
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

    @property
    def position(self) -> str:
        (position,) = self._database.execute("SELECT position FROM feed").fetchone()
        return str(position)

    def store(self, message: pb.WatchItemsResponse) -> None:
        """Store the items of a message and the position after it."""
        with self._database:
            snapshot, in_snapshot = self._database.execute("SELECT snapshot, in_snapshot FROM feed").fetchone()
            for item in message.items:
                self._remove("SELECT rowid FROM item WHERE item_id = ?", item.item_id)
                if not item.HasField("delete_time"):
                    self._add(item, snapshot)
            if in_snapshot and message.caught_up:
                # Everything that exists has come since the snapshot began; the rest was deleted before.
                self._remove("SELECT rowid FROM item WHERE snapshot < ?", snapshot)
                in_snapshot = False
            self._database.execute(
                "UPDATE feed SET position = ?, in_snapshot = ?", (message.position, in_snapshot)
            )

    def start_over(self) -> None:
        """Begin another snapshot; until it is complete, the old items can still be found."""
        with self._database:
            self._database.execute("UPDATE feed SET position = '', snapshot = snapshot + 1, in_snapshot = 1")

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


async def follow(catalog: CatalogServiceStub, shop: pb.ShopRef, index: Index) -> None:
    """Keep the index true until cancelled."""
    secret = os.environ.get("CATALOG_SERVICE_SECRET")
    metadata = (("x-service-secret", secret),) if secret else ()
    while True:
        reconnect = False
        request = pb.WatchItemsRequest(shop=shop, after_position=index.position)
        call = catalog.WatchItems(request, metadata=metadata)
        try:
            while isinstance(message := await read(call), pb.WatchItemsResponse):
                index.store(message)
                if message.items:
                    print(f"{len(message.items)} items{', caught up' if message.caught_up else ''}", flush=True)
                # Set in the last message of a stream that reached its maximum age, or whose replica shuts down.
                reconnect = message.reconnect_reason != pb.WatchSyncResponse.RECONNECT_REASON_UNSPECIFIED
        except grpc.aio.AioRpcError as error:
            if reason(error) == "POSITION_EXPIRED":
                index.start_over()
                reconnect = True
            elif error.code() not in RETRYABLE_CODES:
                raise
        except TimeoutError:
            pass
        finally:
            call.cancel()
        if not reconnect:
            await asyncio.sleep(random.uniform(0.2, 2))


async def read(call: grpc.aio.UnaryStreamCall[pb.WatchItemsRequest, pb.WatchItemsResponse]) -> object:
    """Return the next message, or gRPC's EOF marker. Raise TimeoutError when none arrives for a minute."""
    async with asyncio.timeout(STALL_SECONDS):
        return await call.read()


def reason(error: grpc.aio.AioRpcError) -> str:
    """Return the stable reason of an error."""
    info = error_details_pb2.ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                detail.Unpack(info)
    return str(info.reason)


async def main(shop_name: str, file: str) -> None:
    """Follow the shop."""
    platform, _, domain = shop_name.partition(":")
    address = os.environ.get("CATALOG_ADDRESS", "127.0.0.1:50051")
    with closing(Index(file)) as index:
        async with grpc.aio.insecure_channel(address, options=(("grpc.keepalive_time_ms", 30_000),)) as channel:
            await follow(CatalogServiceStub(channel), pb.ShopRef(platform=platform, domain=domain), index)


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
