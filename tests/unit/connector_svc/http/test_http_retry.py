from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from connector_svc.domain.errors import SourceRateLimited, SourceResponseInvalid, SourceUnreachable
from connector_svc.domain.fetch import WaitReason
from connector_svc.http.client import open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.http.response_body import BodyLimits
from connector_svc.http.retry import RetryPolicy, retry_after
from tests.fakes.shop_server import SHOP, FakeEnvironment, OpenClient, ShopServer, serving, status
from tests.waiting import forever, until_stable

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("code", [408, 425, 429, 430, 500, 502, 503, 504, *range(520, 528), 530])
async def test_a_transient_status_is_retried(opened: OpenClient, server: ShopServer, code: int) -> None:
    server.answers(status(code), status(200))
    async with opened() as client:
        assert (await client.request("GET", "/")).status == 200


@pytest.mark.parametrize("code", [200, 204, 400, 401, 402, 403, 404, 418, 423, 501])
async def test_every_other_status_is_returned_at_once(
    opened: OpenClient, server: ShopServer, env: FakeEnvironment, code: int
) -> None:
    server.answers(status(code))
    async with opened() as client:
        assert (await client.request("GET", "/")).status == code
    assert (len(server.requests), env.sleeps) == (1, [])


@pytest.mark.parametrize("code", [408, 425, 522, 524, 530])
async def test_retry_after_of_any_transient_status_is_respected(
    opened: OpenClient, server: ShopServer, env: FakeEnvironment, code: int
) -> None:
    env.jitter = 0.0
    server.answers(status(code, Retry_After="3"), status(200))
    async with opened() as client:
        assert (await client.request("GET", "/")).status == 200
    assert env.sleeps == [3]
    assert [wait.reason for wait in env.waits] == [WaitReason.SOURCE_UNREACHABLE]


async def test_a_security_rejection_counts_as_a_rate_limit(opened: OpenClient, server: ShopServer) -> None:
    server.answers(status(430, Retry_After="300"))
    async with opened() as client:
        with pytest.raises(SourceRateLimited) as limited:
            await client.request("GET", "/")
    assert limited.value.retry_after == timedelta(minutes=5)


async def test_backoff_doubles_up_to_its_cap_and_ends_with_the_attempts(
    opened: OpenClient, server: ShopServer, env: FakeEnvironment
) -> None:
    server.answers(status(503))
    policy = RetryPolicy(attempts=5, max_delay=timedelta(seconds=3))
    async with opened(config=HttpConfig(retry=policy)) as client:
        with pytest.raises(SourceUnreachable, match="HTTP 503"):
            await client.request("GET", "/")
    assert env.sleeps == [0.5, 1, 2, 3]
    assert len(server.requests) == 5


async def test_backoff_has_full_jitter(opened: OpenClient, server: ShopServer, env: FakeEnvironment) -> None:
    server.answers(status(503))
    env.jitter = 0.25
    async with opened() as client:
        with pytest.raises(SourceUnreachable):
            await client.request("GET", "/")
    assert env.sleeps == [0.125, 0.25, 0.5]


async def test_retry_after_is_waited_for_in_full(
    opened: OpenClient, server: ShopServer, env: FakeEnvironment
) -> None:
    env.jitter = 0.0
    at = "Fri, 20 Nov 2026 12:00:09 GMT"
    server.answers(status(429, Retry_After="2.0"), status(503, Retry_After=at), status(200))
    async with opened() as client:
        await client.request("GET", "/")
    assert env.sleeps == [2, 7]


async def test_a_retry_after_above_the_limit_is_reported_instead_of_waited_for(
    opened: OpenClient, server: ShopServer, env: FakeEnvironment
) -> None:
    server.answers(status(429, Retry_After="90"), status(503, Retry_After="3600"))
    async with opened() as client:
        with pytest.raises(SourceRateLimited) as limited:
            await client.request("GET", "/")
        with pytest.raises(SourceUnreachable) as unreachable:
            await client.request("GET", "/")
    assert limited.value.retry_after == timedelta(seconds=90)
    assert unreachable.value.retry_after == timedelta(hours=1)
    assert env.sleeps == []


async def test_the_total_delay_limit_is_for_all_pauses_of_a_request_together(
    opened: OpenClient, server: ShopServer, env: FakeEnvironment
) -> None:
    env.jitter = 0.0
    server.answers(status(429, Retry_After="25"))
    async with opened() as client:
        with pytest.raises(SourceRateLimited):
            await client.request("GET", "/")
    assert env.sleeps == [25, 25]


async def test_each_pause_is_reported_when_it_begins(
    opened: OpenClient, server: ShopServer, env: FakeEnvironment
) -> None:
    server.answers(status(429, Retry_After="2"), status(500), status(200))
    begin = env.now
    async with opened() as client:
        await client.request("GET", "/")
    throttled, unreachable = env.waits
    assert (throttled.reason, throttled.until) == (WaitReason.THROTTLED, begin + timedelta(seconds=2.5))
    assert (unreachable.reason, unreachable.until) == (WaitReason.SOURCE_UNREACHABLE, env.now)


async def test_a_request_that_is_not_idempotent_is_not_repeated(
    opened: OpenClient, server: ShopServer, env: FakeEnvironment
) -> None:
    server.answers(status(503))
    async with opened() as client:
        with pytest.raises(SourceUnreachable):
            await client.request("POST", "/", body=b"once", idempotent=False)
    assert server.bodies == [b"once"]


async def test_aiohttp_does_not_retry_on_its_own(opened: OpenClient, server: ShopServer) -> None:
    """By default, aiohttp repeats a GET when the connection breaks."""

    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport
        request.transport.abort()
        return web.Response()

    server.answers(hang_up)
    async with opened(config=HttpConfig(retry=RetryPolicy(attempts=3))) as client:
        with pytest.raises(SourceUnreachable):
            await client.request("GET", "/")
    assert len(server.requests) == 3


async def test_a_truncated_reply_is_retried(opened: OpenClient, server: ShopServer) -> None:
    async def break_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"[{")
        assert request.transport is not None
        request.transport.close()
        return response

    server.answers(break_off, status(200, "[]"))
    async with opened() as client:
        assert (await client.request("POST", "/", body=b"{}")).body == b"[]"


async def test_an_unusable_reply_is_not_retried(
    opened: OpenClient, server: ShopServer, env: FakeEnvironment
) -> None:
    server.answers(status(200, "xx"))
    async with opened(config=HttpConfig(body=BodyLimits(max_bytes=1))) as client:
        with pytest.raises(SourceResponseInvalid):
            await client.request("GET", "/")
    assert len(server.requests) == 1


async def test_a_shop_that_accepts_connections_and_never_answers_is_unreachable(
    opened: OpenClient, server: ShopServer, env: FakeEnvironment
) -> None:
    async def say_nothing(request: web.Request) -> web.Response:
        await forever()

    server.answers(say_nothing)
    config = HttpConfig(total_timeout=timedelta(milliseconds=100), retry=RetryPolicy(attempts=2))
    async with opened(config=config) as client:
        with pytest.raises(SourceUnreachable, match="no answer in time"):
            await client.request("GET", "/", params=[("key", "secret")])
    assert len(env.sleeps) == 1


async def test_a_closed_port_is_unreachable(env: FakeEnvironment) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        endpoints = Endpoints.of({SHOP.domain: f"http://127.0.0.1:{reserved.getsockname()[1]}"})
        async with open_http(HttpConfig(endpoints=endpoints), env.dependencies()) as http:
            with pytest.raises(SourceUnreachable, match="no connection"):
                await http.to_shop(SHOP).request("GET", "/")
    assert len(env.sleeps) == 3


async def test_a_server_that_does_not_speak_http_is_unreachable(env: FakeEnvironment) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    mail = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with mail:
        endpoints = Endpoints.of({SHOP.domain: f"http://127.0.0.1:{mail.sockets[0].getsockname()[1]}"})
        async with open_http(HttpConfig(endpoints=endpoints), env.dependencies()) as http:
            with pytest.raises(SourceUnreachable):
                await http.to_shop(SHOP).request("GET", "/", params=[("key", "secret")])


async def test_no_shop_gets_more_concurrent_connections_than_allowed(
    opened: OpenClient, server: ShopServer
) -> None:
    now, most = 0, 0

    async def count(request: web.Request) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await until_stable(lambda: now)
        now -= 1
        return web.Response()

    server.answers(count)
    async with opened(config=HttpConfig(connections_per_host=3)) as client:
        await asyncio.gather(*(client.request("GET", "/") for _ in range(12)))
    assert most == 3


async def test_a_cancelled_request_stays_cancelled(opened: OpenClient) -> None:
    arrived = asyncio.Event()
    async with serving() as slow:

        async def never(request: web.Request) -> web.Response:
            arrived.set()
            await forever()

        slow.answers(never)
        endpoints = Endpoints.of({SHOP.domain: slow.url})
        async with open_http(HttpConfig(endpoints=endpoints)) as http:
            asking = asyncio.create_task(http.to_shop(SHOP).request("GET", "/"))
            await arrived.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2", 2),
        ("2.0", 2),
        (" 7 ", 7),
        ("-5", 0),
        ("1e300", 10**8),
        ("Fri, 20 Nov 2026 12:01:00 GMT", 60),
        ("Fri, 20 Nov 2026 13:01:00 +0100", 60),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Fri, 99 Nov 2026 12:01:00 GMT", None),
    ],
)
def test_retry_after_is_parsed_in_all_its_forms(text: str, seconds: float | None) -> None:
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert retry_after({"Retry-After": text}, NOW) == expected
