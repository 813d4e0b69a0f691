"""`python -m bench.storm.watcher_process`: many watchers that come back as the command line's client does.

Prints a line `{"attached": n}` when each watcher has a snapshot, and when all syncs have ended one with the breaks
of each watcher: the monotonic times at which its stream broke and at which a message arrived again. Then it waits
for SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_client import CatalogSyncError, Disconnect, RetryPolicy, has_ended
from catalogsync_client.caller import OpenStream
from catalogsync_client.watch import WatchCall, watch
from catalogsync_common.rpc_spans import ClientCallSpan

from bench.common.channels import open_stubs


class _Watchers:
    def __init__(self, count: int) -> None:
        self.breaks: list[list[tuple[float, float]]] = [[] for _ in range(count)]
        """By watcher: when a stream broke and when a message arrived again."""
        self.failures: list[str] = []
        self.ended = 0
        self.attached = asyncio.Event()
        self._not_attached = count

    async def watch(self, number: int, stub: CatalogServiceStub, sync_id: str) -> None:
        """Watch one sync to its end."""
        broken_at: float | None = None

        def on_connection(disconnect: Disconnect | None) -> None:
            nonlocal broken_at
            if disconnect is not None:
                broken_at = broken_at or time.monotonic()
            elif broken_at is not None:
                self.breaks[number].append((broken_at, time.monotonic()))
                broken_at = None

        async def open_stream(revision: int) -> WatchCall:
            request = pb.WatchSyncRequest(sync_id=sync_id, after_revision=revision)
            return OpenStream(stub.WatchSync(request), ClientCallSpan(request))

        snapshots = watch(
            open_stream, callee="catalog_svc", on_connection=on_connection, retry_policy=RetryPolicy()
        )
        is_first = True
        try:
            async with aclosing(snapshots):
                async for sync in snapshots:
                    if is_first:
                        is_first = False
                        self._count_attached()
                    self.ended += has_ended(sync)
        except CatalogSyncError as error:
            self.failures.append(f"{error.failure.code.name}: {error.failure.message}")
            self._count_attached()

    def _count_attached(self) -> None:
        self._not_attached -= 1
        if not self._not_attached:
            self.attached.set()


async def _run(address: str, sync_ids: Sequence[str], count: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    watchers = _Watchers(count)
    async with AsyncExitStack() as stack:
        stubs = await open_stubs(stack, address, streams=count)
        tasks = [
            asyncio.create_task(watchers.watch(n, stubs[n % len(stubs)], sync_ids[n % len(sync_ids)]))
            for n in range(count)
        ]
        await watchers.attached.wait()
        # A full collection would delay what is timed.
        gc.freeze()
        print(json.dumps({"attached": count - len(watchers.failures)}), flush=True)
        await asyncio.gather(*tasks)
        summary = {"breaks": watchers.breaks, "ended": watchers.ended, "failures": watchers.failures[:3]}
        print(json.dumps(summary), flush=True)
        await stop.wait()


def main() -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.storm.watcher_process", description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--syncs", type=Path, required=True, help="a JSON list of sync ids, watched in turn")
    parser.add_argument("--count", type=int, required=True, help="of watchers")
    arguments = parser.parse_args()
    gc.set_threshold(50_000, 20, 50)
    sync_ids = json.loads(arguments.syncs.read_text(encoding="utf-8"))
    asyncio.run(_run(arguments.address, sync_ids, arguments.count))


if __name__ == "__main__":
    main()
