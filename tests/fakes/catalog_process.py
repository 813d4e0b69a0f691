"""`python -m tests.fakes.catalog_process`: a FakeCatalog in a process of its own, which a test can freeze or kill.

It prints its port and runs until it is killed.
"""

from __future__ import annotations

import asyncio
import sys

from catalogsync.catalog.v1.catalog_service_pb2 import Sync

from tests.fakes.catalog_service import CatalogServer, FakeCatalog


async def main(encoded: str) -> None:
    """Serve the one sync that `encoded` (hexadecimal) holds."""
    server = CatalogServer(FakeCatalog())
    sync = Sync.FromString(bytes.fromhex(encoded))
    server.fake.syncs[sync.sync_id] = sync
    await server.start()
    print(server.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
