"""`python -m bench.watchers.client`: many watchers of one sync, as generated stubs make them.

Prints a line `{"attached": n}` when each of its watchers has its first snapshot, and a line with all that they saw
once their streams have ended. Then it waits for SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import time
from contextlib import AsyncExitStack

import grpc
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub

from bench.watchers.seen import Arrival, Crowd

_STREAMS_PER_CHANNEL = 250
_ENDED = (pb.Sync.STATE_SUCCEEDED, pb.Sync.STATE_FAILED, pb.Sync.STATE_CANCELLED)


class _Watchers:
    def __init__(self, sync_id: str, count: int) -> None:
        self._sync_id = sync_id
        self._missing = count
        self.attached = asyncio.Event()
        self.crowd = Crowd()

    async def watch(self, stub: CatalogServiceStub) -> None:
        """One watcher, to the end of its stream."""
        arrivals: list[Arrival] = []
        try:
            async for response in stub.WatchSync(pb.WatchSyncRequest(sync_id=self._sync_id)):
                # PostgreSQL's clock dates the snapshots, and it is this machine's.
                now = time.time()
                if not response.heartbeat:
                    sync = response.sync
                    made = sync.update_time.ToNanoseconds() / 1e9
                    last = sync.state in _ENDED
                    arrivals.append(Arrival(revision=sync.revision, made=made, at=now, last=last))
                if self._missing and len(arrivals) == 1:
                    self._one_attached()
            self.crowd.add(arrivals)
        except grpc.aio.AioRpcError as error:
            self.crowd.failures.append(f"{error.code().name}: {error.details()}")
            self.attached.set()

    def _one_attached(self) -> None:
        self._missing -= 1
        if not self._missing:
            self.attached.set()


async def _run(address: str, sync_id: str, count: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    watchers = _Watchers(sync_id, count)
    async with AsyncExitStack() as stack:
        stubs = [await _stub(stack, address) for _ in range(-(-count // _STREAMS_PER_CHANNEL))]
        watching = [asyncio.create_task(watchers.watch(stubs[n % len(stubs)])) for n in range(count)]
        await watchers.attached.wait()
        # As many objects as it will ever have: looking through them again would delay what is timed.
        gc.freeze()
        print(json.dumps({"attached": count - len(watchers.crowd.failures)}), flush=True)
        await asyncio.gather(*watching)
        print(json.dumps(watchers.crowd.told()), flush=True)
        await stop.wait()


async def _stub(stack: AsyncExitStack, address: str) -> CatalogServiceStub:
    # Else all channels of a process to one address share one connection.
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
    return CatalogServiceStub(await stack.enter_async_context(grpc.aio.insecure_channel(address, options=options)))


def main() -> None:
    """Runs until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.watchers.client", description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--sync", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--nice", type=int, default=0, help="19: takes only the CPU that nobody else wants")
    asked = parser.parse_args()
    os.nice(asked.nice)
    gc.set_threshold(50_000, 20, 50)
    asyncio.run(_run(asked.address, asked.sync, asked.count))


if __name__ == "__main__":
    main()
