"""How long a service's event loop is busy with something else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from catalogsync_common.channel import open_channel
from grpc_health.v1 import health_pb2, health_pb2_grpc

_EVERY = 0.01
"""Seconds."""


@asynccontextmanager
async def pulse(address: str) -> AsyncIterator[list[float]]:
    """Seconds that each health check took while the block runs: it needs the event loop alone, no database."""
    taken: list[float] = []

    async def feel() -> None:
        async with open_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while True:
                begin = time.perf_counter()
                await stub.Check(health_pb2.HealthCheckRequest(), timeout=30)
                taken.append(time.perf_counter() - begin)
                await asyncio.sleep(_EVERY)

    async with asyncio.TaskGroup() as group:
        feeling = group.create_task(feel())
        yield taken
        feeling.cancel()
