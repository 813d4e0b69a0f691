"""`python -m bench.watch.watcher_process`: many watchers in one process, as generated stubs make them.

Prints a line `{"attached": n}` when each of its watchers has its first snapshot, and a line with the summary of
all arrivals once their streams have ended. Then it waits for SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub

from bench.common.channels import open_stubs
from bench.watch.arrivals import Arrival, Arrivals

_ENDED = (pb.Sync.STATE_SUCCEEDED, pb.Sync.STATE_FAILED, pb.Sync.STATE_CANCELLED)


class _Watchers:
    def __init__(self, count: int) -> None:
        self._not_attached = count
        self.attached = asyncio.Event()
        self.arrivals = Arrivals()

    async def watch(self, stub: CatalogServiceStub, sync_id: str) -> None:
        """Watch one sync to its end."""
        arrivals: list[Arrival] = []
        try:
            while await self._watch_once(stub, sync_id, arrivals):
                pass
            self.arrivals.add(sync_id, arrivals)
        except grpc.aio.AioRpcError as error:
            self.arrivals.failures.append(f"{error.code().name}: {error.details()}")
            self.attached.set()

    async def _watch_once(self, stub: CatalogServiceStub, sync_id: str, arrivals: list[Arrival]) -> bool:
        """Watch to the end of one stream; return whether its last message asks to call again."""
        must_reconnect = False
        after = arrivals[-1].revision if arrivals else 0
        async for response in stub.WatchSync(pb.WatchSyncRequest(sync_id=sync_id, after_revision=after)):
            # PostgreSQL dates the snapshots with the clock of this machine.
            now = time.time()
            must_reconnect = response.reconnect_reason != pb.WatchSyncResponse.RECONNECT_REASON_UNSPECIFIED
            if not response.heartbeat:
                sync = response.sync
                arrivals.append(
                    Arrival(
                        revision=sync.revision,
                        written_at=sync.update_time.ToNanoseconds() / 1e9,
                        arrived_at=now,
                        is_terminal=sync.state in _ENDED,
                    )
                )
            if self._not_attached and len(arrivals) == 1:
                self._count_attached()
        return must_reconnect

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
            asyncio.create_task(watchers.watch(stubs[n % len(stubs)], sync_ids[n % len(sync_ids)]))
            for n in range(count)
        ]
        await watchers.attached.wait()
        # No more objects are allocated for long: a full collection would delay what is timed.
        gc.freeze()
        print(json.dumps({"attached": count - len(watchers.arrivals.failures)}), flush=True)
        await asyncio.gather(*tasks)
        print(json.dumps(watchers.arrivals.summary()), flush=True)
        await stop.wait()


def main() -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.watch.watcher_process", description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--syncs", type=Path, required=True, help="a JSON list of sync ids, watched in turn")
    parser.add_argument("--count", type=int, required=True, help="of watchers")
    parser.add_argument("--nice", type=int, default=0, help="19: use only the CPU that nobody else wants")
    arguments = parser.parse_args()
    os.nice(arguments.nice)
    gc.set_threshold(50_000, 20, 50)
    sync_ids = json.loads(arguments.syncs.read_text(encoding="utf-8"))
    asyncio.run(_run(arguments.address, sync_ids, arguments.count))


if __name__ == "__main__":
    main()
