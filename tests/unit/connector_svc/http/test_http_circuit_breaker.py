"""Circuit breakers and retry budgets: a failing host is called less, and no other host is affected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from aiohttp import web

from connector_svc.domain.errors import SourceRateLimited, SourceUnreachable
from connector_svc.domain.shop import Shop
from connector_svc.http.circuit_breaker import CircuitBreakerPolicy, HostStates
from connector_svc.http.client import ShopClient, open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.http.dependencies import Host, HostClass
from connector_svc.http.retry import RetryBudget, RetryPolicy
from connector_svc.platforms.base import HttpReply
from tests.fakes.shop_server import SHOP, FakeEnvironment, Handler, ShopServer, status
from tests.waiting import forever

OTHER = Shop("woocommerce", "other.example")
CANARY = "cs_0123456789abcdef"


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport
    request.transport.abort()
    return web.Response()


@dataclass(slots=True)
class TwoShops:
    """Two shops at one address, with many clients each: every pass opens its own."""

    server: ShopServer
    env: FakeEnvironment
    to: dict[Shop, list[ShopClient]] = field(default_factory=dict)

    async def send(self, shop: Shop = SHOP, *, passes: int = 1) -> list[SourceUnreachable]:
        """Send one request per pass, in turn; return the failures."""
        failures = []
        for client in self.to[shop][:passes]:
            try:
                await client.request("GET", "/", params=[("consumer_secret", CANARY)])
            except SourceUnreachable as failure:
                failures.append(failure)
        return failures

    @property
    def request_count(self) -> int:
        return len(self.server.requests)


@asynccontextmanager
async def two_shops(server: ShopServer, env: FakeEnvironment, **limits: object) -> AsyncIterator[TwoShops]:
    endpoints = Endpoints.of({shop.domain: server.url for shop in (SHOP, OTHER)})
    config = HttpConfig(endpoints=endpoints, **limits)  # type: ignore[arg-type]
    async with open_http(config, env.dependencies()) as http:
        yield TwoShops(server, env, {s: [http.to_shop(s) for _ in range(50)] for s in (SHOP, OTHER)})


@pytest.fixture
async def shops(server: ShopServer, env: FakeEnvironment) -> AsyncIterator[TwoShops]:
    """With such a large retry budget that only the circuit breaker limits the requests."""
    async with two_shops(server, env, retry_budget=RetryBudget(reserve=1000)) as both:
        yield both


@pytest.mark.parametrize("failing", [hang_up, status(502), status(503), status(504), status(524)])
async def test_the_circuit_of_a_host_without_answers_opens_for_all_passes(
    shops: TwoShops, failing: Handler
) -> None:
    shops.server.answers(failing)
    failures = await shops.send(passes=20)
    # Two passes of four attempts, one more to fill five seconds, and then none.
    assert shops.request_count <= 12
    assert len(failures) == 20
    assert failures[-1].retry_after is not None
    assert timedelta() < failures[-1].retry_after <= timedelta(seconds=5)
    assert failures[-1].reason == "SOURCE_UNREACHABLE"
    assert "no answer for some time" in failures[-1].message
    assert CANARY not in str(failures[-1])


async def test_the_circuit_of_another_shop_stays_closed_even_at_the_same_address(shops: TwoShops) -> None:
    shops.server.answers(hang_up)
    await shops.send(passes=20)
    shops.server.answers(status(200))
    assert await shops.send(OTHER, passes=5) == []
    assert len(await shops.send(SHOP)) == 1


async def test_after_the_open_time_one_attempt_probes_the_host(shops: TwoShops) -> None:
    shops.server.answers(hang_up)
    await shops.send(passes=20)
    before = shops.request_count
    shops.server.answers(status(200))
    shops.env.now += timedelta(seconds=5)
    assert await shops.send(passes=20) == []
    assert shops.request_count == before + 20


async def test_each_failed_probe_doubles_the_open_time_up_to_half_a_minute(shops: TwoShops) -> None:
    shops.server.answers(hang_up)
    await shops.send(passes=20)
    for seconds in (5, 10, 20, 30, 30):
        [failure] = await shops.send()
        assert failure.retry_after is not None
        assert failure.retry_after.total_seconds() == pytest.approx(seconds, abs=0.01)
        shops.env.now += timedelta(seconds=seconds)
        before = shops.request_count
        await shops.send(passes=5)
        assert shops.request_count == before + 1


async def test_only_one_of_many_callers_probes_a_host(server: ShopServer, env: FakeEnvironment) -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        arrived.set()
        await go.wait()
        return web.Response(text="{}")

    async with two_shops(server, env) as shops:
        server.answers(hang_up)
        await shops.send(passes=20)
        server.answers(slow)
        env.now += timedelta(seconds=5)
        before = shops.request_count
        first = asyncio.create_task(shops.send())
        await arrived.wait()
        assert len(await shops.send(passes=20)) == 20
        assert shops.request_count == before + 1
        go.set()
        assert await first == []
        assert await shops.send(passes=3) == []


async def test_a_cancelled_probe_lets_another_one_follow(server: ShopServer, env: FakeEnvironment) -> None:
    arrived = asyncio.Event()

    async def never(request: web.Request) -> web.Response:
        arrived.set()
        await forever()

    async with two_shops(server, env) as shops:
        server.answers(hang_up)
        await shops.send(passes=20)
        server.answers(never)
        env.now += timedelta(seconds=5)
        trying = asyncio.create_task(shops.to[SHOP][0].request("GET", "/"))
        await arrived.wait()
        await cancelled(trying)
        server.answers(status(200))
        assert await shops.send() == []


async def cancelled(task: asyncio.Task[HttpReply]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_many_connections_that_break_at_once_do_not_open_the_circuit(
    server: ShopServer, env: FakeEnvironment
) -> None:
    """As when the shop's web server restarts."""
    async with two_shops(server, env, retry=RetryPolicy(attempts=1)) as shops:
        server.answers(hang_up)
        assert len(await shops.send(passes=50)) == 50
        server.answers(status(200))
        assert await shops.send() == []


@pytest.mark.parametrize("code", [200, 400, 401, 404, 500])
async def test_any_answer_resets_the_circuit(shops: TwoShops, code: int) -> None:
    failing: list[Handler] = [hang_up, hang_up, hang_up, status(code)]
    shops.server.answers(*failing * 20, status(200))
    for _ in range(50):
        for failure in await shops.send():
            assert "some time" not in failure.message


async def test_a_circuit_opens_only_after_many_failures_over_some_time(
    server: ShopServer, env: FakeEnvironment
) -> None:
    policy = CircuitBreakerPolicy(failures=3, failing_for=timedelta(seconds=60))
    async with two_shops(server, env, retry=RetryPolicy(attempts=1), circuit=policy) as shops:
        server.answers(hang_up)
        await shops.send(passes=10)
        assert shops.request_count == 10
        env.now += timedelta(seconds=60)
        await shops.send(passes=10)
        assert shops.request_count == 11


async def test_the_retry_budget_limits_retries_on_a_failing_host(server: ShopServer, env: FakeEnvironment) -> None:
    """Status 500 counts as an answer, so that the circuit stays closed."""
    async with two_shops(server, env, retry_budget=RetryBudget(share=0.1, reserve=5)) as shops:
        server.answers(status(500))
        for _ in range(4):
            await shops.send(passes=50)
    assert 200 < shops.request_count <= 200 * 1.1 + 5


async def test_requests_to_a_recovered_host_refill_its_retry_budget(
    server: ShopServer, env: FakeEnvironment
) -> None:
    async with two_shops(server, env, retry_budget=RetryBudget(share=0.5, reserve=3)) as shops:
        server.answers(status(500))
        await shops.send(passes=10)
        server.answers(status(200))
        await shops.send(passes=10)
        server.answers(status(500), status(500), status(200))
        assert await shops.send() == []


async def test_a_retry_at_the_time_of_retry_after_costs_no_budget(
    server: ShopServer, env: FakeEnvironment
) -> None:
    async with two_shops(server, env, retry_budget=RetryBudget(share=0, reserve=1)) as shops:
        server.answers(*[status(429, Retry_After="1"), status(200)] * 20)
        assert await shops.send(passes=20) == []
        server.answers(*[status(429), status(200)] * 5)
        with pytest.raises(SourceRateLimited):
            await shops.send(passes=5)


async def test_host_states_are_bounded_and_failing_hosts_are_evicted_last() -> None:
    hosts = HostStates(RetryBudget(), CircuitBreakerPolicy(), lambda: 0.0, max_hosts=100)
    dead = Host(name="dead.example", host_class=HostClass.SHOP)
    hosts.get(dead).circuit.record_failure()
    kept = hosts.get(dead)
    for number in range(1000):
        hosts.get(Host(name=f"{number}.example", host_class=HostClass.SHOP))
    assert len(hosts) <= 100
    assert hosts.get(dead) is kept
