"""`python -m bench.feed.consumer_process`: consumers of item feeds, in a process of their own.

Prints lines of JSON. With `--pause`, consumers stop reading after their first message. With `--until-caught-up`:
one with the items and the seconds of each consumer, then it ends. Otherwise one `{"caught_up": n}` when all
consumers have caught up, and at SIGTERM one with the latencies of the items that came after that: from the
statement that stored an item (`Item.update_time`, PostgreSQL's clock, which is that of this machine) to its
arrival. The commit comes after the statement, so that this is an upper bound.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub

from bench.common.channels import open_stubs


class _Consumers:
    def __init__(self, count: int) -> None:
        self.items = 0
        self.seconds: list[float] = []
        self.latencies: list[float] = []
        self.all_ready = asyncio.Event()
        self._missing = count

    async def pause(self, stub: CatalogServiceStub, shop_id: str) -> None:
        """Read the first message of the feed of a shop, and nothing more."""
        call = stub.WatchItems(pb.WatchItemsRequest(shop=pb.ShopRef(shop_id=shop_id)))
        await call.read()
        self._count_ready()
        await asyncio.Event().wait()

    async def consume(self, stub: CatalogServiceStub, shop_id: str, *, until_caught_up: bool) -> None:
        """Read the feed of a shop."""
        begin, caught_up = time.perf_counter(), False
        call = stub.WatchItems(pb.WatchItemsRequest(shop=pb.ShopRef(shop_id=shop_id)))
        async for message in call:
            if caught_up:
                now = time.time_ns()
                self.latencies.extend((now - item.update_time.ToNanoseconds()) / 1e6 for item in message.items)
                continue
            self.items += len(message.items)
            if message.caught_up:
                caught_up = True
                self.seconds.append(time.perf_counter() - begin)
                self._count_ready()
                if until_caught_up:
                    call.cancel()
                    return

    def _count_ready(self) -> None:
        self._missing -= 1
        if not self._missing:
            self.all_ready.set()


async def _run(address: str, shop_ids: Sequence[str], count: int, *, pause: bool, until_caught_up: bool) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    consumers = _Consumers(count)
    async with AsyncExitStack() as stack:
        stubs = await open_stubs(stack, address, streams=count)
        tasks = [
            asyncio.create_task(
                consumers.pause(stubs[n % len(stubs)], shop_ids[n % len(shop_ids)])
                if pause
                else consumers.consume(
                    stubs[n % len(stubs)], shop_ids[n % len(shop_ids)], until_caught_up=until_caught_up
                )
            )
            for n in range(count)
        ]
        await consumers.all_ready.wait()
        # A full collection would delay what is timed.
        gc.freeze()
        print(json.dumps({"items": consumers.items, "seconds": consumers.seconds}), flush=True)
        if until_caught_up:
            return
        await stop.wait()
        print(json.dumps({"latencies_ms": consumers.latencies}), flush=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    """Parse the command line, and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.feed.consumer_process", description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--count", type=int, default=1, help="number of consumers")
    parser.add_argument("--until-caught-up", action="store_true")
    parser.add_argument("--pause", action="store_true")
    parser.add_argument("shop_ids", nargs="+")
    options = parser.parse_args()
    asyncio.run(
        _run(
            options.address,
            options.shop_ids,
            options.count,
            pause=options.pause,
            until_caught_up=options.until_caught_up,
        )
    )


if __name__ == "__main__":
    main()
