"""Connection limits: per shop and for all shops together; a shop waits only for its own connections."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from connector_svc.domain.fetch import Wait, WaitReason
from connector_svc.domain.shop import Shop
from connector_svc.http.client import ShopClient, open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.http.connection_limits import ConnectionLimiter
from connector_svc.http.dependencies import Host, HostClass, HttpDependencies, NullHttpMetrics
from connector_svc.http.retry import RetryPolicy
from connector_svc.platforms.base import HttpReply
from tests.fakes.shop_server import FakeEnvironment, ShopServer
from tests.waiting import TIMEOUT_SECONDS, within_timeout

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
FILE = "/file"


def host(name: str) -> Host:
    return Host(name=name, host_class=HostClass.SHOP)


class RequestBarrier:
    """Holds all requests until released; counts them by the header that names their shop."""

    def __init__(self) -> None:
        self.waiting: Counter[str] = Counter()
        self.arrived = asyncio.Condition()
        self.released = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        async with self.arrived:
            self.waiting[request.headers.get("X-Shop", "file")] += 1
            self.arrived.notify_all()
        await self.released.wait()
        return web.Response(text="{}")

    async def wait_for(self, **wanted: int) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS), self.arrived:
            await self.arrived.wait_for(lambda: dict(self.waiting) == wanted)


@pytest.fixture
async def barrier() -> AsyncIterator[RequestBarrier]:
    found = RequestBarrier()
    yield found
    found.released.set()


@asynccontextmanager
async def clients(
    server: ShopServer, *names: str, config: HttpConfig, dependencies: HttpDependencies | None = None
) -> AsyncIterator[list[ShopClient]]:
    """Open clients of shops that are all called at the same host, as all of BigCommerce are."""
    endpoints = Endpoints.of({f"{name}.example": server.url for name in names})
    config = replace(config, endpoints=endpoints, retry=RetryPolicy(attempts=1))
    async with open_http(config, dependencies or HttpDependencies()) as http:
        yield [http.to_shop(Shop("bigcommerce", f"{name}.example")) for name in names]


def ask(client: ShopClient, name: str, times: int) -> list[asyncio.Task[HttpReply]]:
    return [asyncio.create_task(client.request("GET", "/", headers={"X-Shop": name})) for _ in range(times)]


async def test_shops_that_share_an_api_host_have_separate_connection_limits(
    server: ShopServer, barrier: RequestBarrier
) -> None:
    server.answers(barrier.answer)
    async with clients(server, "a", "b", config=HttpConfig(connections_per_host=3)) as (one, other):
        tasks = ask(one, "a", 10)
        await barrier.wait_for(a=3)
        tasks += ask(other, "b", 1)
        await barrier.wait_for(a=3, b=1)
        barrier.released.set()
        await asyncio.gather(*tasks)


async def test_all_shops_together_stay_within_the_total_limit(server: ShopServer, barrier: RequestBarrier) -> None:
    server.answers(barrier.answer)
    async with clients(server, "a", "b", config=HttpConfig(connections_per_host=3, connections=4)) as (one, other):
        tasks = ask(one, "a", 3)
        await barrier.wait_for(a=3)
        tasks += ask(other, "b", 3)
        await barrier.wait_for(a=3, b=1)
        barrier.released.set()
        await asyncio.gather(*tasks)
        assert sum(barrier.waiting.values()) == 6


async def test_downloads_use_none_of_the_connections_of_api_calls(
    server: ShopServer, barrier: RequestBarrier
) -> None:
    server.answers(barrier.answer)
    config = HttpConfig(connections_per_host=1, connections=1, downloads=1)

    async def read(client: ShopClient) -> None:
        async for _ in client.download(f"{server.url}{FILE}", hosts=(), max_bytes=1000):
            pass

    async with clients(server, "a", config=config) as [client]:
        tasks = [asyncio.create_task(read(client))]
        await barrier.wait_for(file=1)
        more = ask(client, "a", 1)
        await barrier.wait_for(file=1, a=1)
        barrier.released.set()
        await asyncio.gather(*tasks, *more)


class Durations(NullHttpMetrics):
    """Records the duration of each attempt, by the clock of the client."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def record_attempt(self, host: Host, outcome: str, seconds: float) -> None:
        self.seconds.append(seconds)


async def test_waiting_for_a_connection_does_not_count_into_the_attempt_or_its_timeout(
    server: ShopServer, barrier: RequestBarrier, env: FakeEnvironment
) -> None:
    server.answers(barrier.answer)
    durations = Durations()
    dependencies = replace(env.dependencies(), metrics=durations)
    async with clients(server, "a", config=HttpConfig(connections_per_host=1), dependencies=dependencies) as [
        client
    ]:
        tasks = ask(client, "a", 2)
        await barrier.wait_for(a=1)
        env.now += timedelta(hours=1)
        barrier.released.set()
        await asyncio.gather(*tasks)
    assert durations.seconds == [3600, 0]


async def test_a_long_wait_for_a_connection_is_reported_and_a_short_one_is_not() -> None:
    waits: list[Wait] = []
    reported = asyncio.Event()

    def report(wait: Wait) -> None:
        waits.append(wait)
        reported.set()

    limiter = ConnectionLimiter(per_host=1, total=1, clock=lambda: NOW, report_after=timedelta())
    slow_report = ConnectionLimiter(per_host=1, total=1, clock=lambda: NOW, report_after=timedelta(hours=1))
    for one, expected in ((slow_report, 0), (limiter, 1)):

        async def take(of: ConnectionLimiter = one) -> None:
            async with of.connection(host("a"), report):
                pass

        async with one.connection(host("a"), report):
            waiting = asyncio.create_task(take())
            if expected:
                await reported.wait()
            else:
                await asyncio.sleep(0)
        await waiting
        assert len(waits) == expected
    assert (waits[0].reason, waits[0].until > NOW) == (WaitReason.THROTTLED, True)
    assert "connections" in waits[0].message


async def test_a_cancelled_wait_releases_its_connection() -> None:
    limiter = ConnectionLimiter(per_host=1, total=1, clock=lambda: NOW)

    async def take() -> None:
        async with limiter.connection(host("a"), None):
            pass

    async with limiter.connection(host("a"), None):
        waiting = asyncio.create_task(take())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await within_timeout(take())
