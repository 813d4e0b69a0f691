from __future__ import annotations

import asyncio
import gzip
import json
import logging
import os
import tracemalloc
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from connector_svc.domain.errors import SourceRedirected, SourceResponseInvalid, SourceUnreachable
from connector_svc.http.config import HttpConfig
from connector_svc.http.response_body import BodyLimits
from connector_svc.http.retry import RetryPolicy
from tests.fakes.shop_server import Handler, OpenClient, ShopServer, serving, status
from tests.waiting import TIMEOUT_SECONDS, let_tasks_run

SECRET = "cs_0123456789abcdef"
ONE_ATTEMPT = RetryPolicy(attempts=1)


class CountedThreads(ThreadPoolExecutor):
    """The thread pool of an event loop; counts its jobs."""

    jobs = 0

    def submit(self, *args: Any, **options: Any) -> Future[Any]:
        self.jobs += 1
        return super().submit(*args, **options)


def compressed(body: bytes) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": "gzip"}, content_type="application/json")

    return handle


async def test_path_and_parameters_are_sent_unchanged_below_the_prefix(
    opened: OpenClient, server: ShopServer
) -> None:
    async with opened("/demo/") as client:
        await client.request("GET", "/wp-json/wc/v3", params=[("a", "b&c=d #e"), ("a", "ü"), ("page", "2")])
    [request] = server.requests
    assert request.path == "/demo/wp-json/wc/v3"
    assert list(request.query.items()) == [("a", "b&c=d #e"), ("a", "ü"), ("page", "2")]


async def test_every_request_carries_user_agent_and_correlation_id(opened: OpenClient, server: ShopServer) -> None:
    async with opened() as client:
        await client.request("POST", "/x", headers={"accept": "text/plain", "X-Token": SECRET}, body=b"{}")
    [request] = server.requests
    assert request.headers["User-Agent"].startswith("catalogsync/")
    assert request.headers["x-correlation-id"] == "abc-123"
    assert request.headers.getall("Accept") == ["text/plain"]
    assert request.headers["X-Token"] == SECRET
    assert server.bodies == [b"{}"]


async def test_json_is_accepted_by_default(opened: OpenClient, server: ShopServer) -> None:
    async with opened() as client:
        await client.request("GET", "/")
    assert server.requests[0].headers["Accept"] == "application/json"
    assert server.requests[0].headers["Accept-Encoding"] == "gzip"


async def test_reply_headers_are_case_insensitive(opened: OpenClient, server: ShopServer) -> None:
    server.answers(status(418, X_WP_Total="7"))
    async with opened() as client:
        reply = await client.request("GET", "/")
    assert (reply.status, reply.headers["x-wp-total"], reply.body) == (418, "7", b"{}")


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(opened: OpenClient, server: ShopServer, code: int) -> None:
    async with serving() as elsewhere:
        server.answers(status(code, Location=f"{elsewhere.url}/stolen?key={SECRET}"))
        async with opened() as client:
            with pytest.raises(SourceRedirected, match="/stolen") as caught:
                await client.request("GET", "/", headers={"X-Shopify-Access-Token": SECRET})
        assert elsewhere.requests == []
    assert SECRET not in str(caught.value)


async def test_cookies_are_not_kept(opened: OpenClient, server: ShopServer) -> None:
    server.answers(status(200, Set_Cookie="session=1; Path=/"))
    async with opened() as client:
        await client.request("GET", "/")
        await client.request("GET", "/")
    assert "Cookie" not in server.requests[1].headers


async def test_proxies_of_the_environment_are_not_used(
    opened: OpenClient, server: ShopServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with opened() as client:
        assert (await client.request("GET", "/")).status == 200


async def test_a_compressed_body_is_decompressed(opened: OpenClient, server: ShopServer) -> None:
    server.answers(compressed(gzip.compress(b'{"a": 1}')))
    async with opened() as client:
        assert (await client.request("GET", "/")).body == b'{"a": 1}'


async def test_a_body_above_the_limit_is_rejected(opened: OpenClient, server: ShopServer) -> None:
    server.answers(status(200, "x" * 2**20), status(200, "x" * (2**20 + 1)))
    async with opened(config=HttpConfig(body=BodyLimits(max_bytes=2**20))) as client:
        assert len((await client.request("GET", "/")).body) == 2**20
        with pytest.raises(SourceResponseInvalid, match="larger than 1 MiB"):
            await client.request("GET", "/")


async def test_a_small_body_that_decompresses_above_the_limit_is_rejected(
    opened: OpenClient, server: ShopServer
) -> None:
    server.answers(compressed(gzip.compress(os.urandom(2**12) * 2**9)))
    async with opened(config=HttpConfig(body=BodyLimits(max_bytes=2**20))) as client:
        with pytest.raises(SourceResponseInvalid, match="larger than 1 MiB"):
            await client.request("GET", "/")


async def test_a_decompression_bomb_is_rejected_before_it_is_in_memory(
    opened: OpenClient, server: ShopServer
) -> None:
    bomb = gzip.compress(b"0" * 2**28)
    server.answers(compressed(bomb))
    async with opened(config=HttpConfig(body=BodyLimits(max_bytes=2**29))) as client:
        tracemalloc.start()
        with pytest.raises(SourceResponseInvalid, match="200 times its size"):
            await client.request("GET", "/")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2**26


async def test_a_repetitive_catalog_is_not_rejected_as_a_bomb(opened: OpenClient, server: ShopServer) -> None:
    rows = [{"id": number, "name": "", "sku": "", "price": "", "images": []} for number in range(40_000)]
    body = json.dumps(rows).encode()
    assert len(body) > 2**21
    server.answers(compressed(gzip.compress(body, 9)))
    async with opened() as client:
        assert (await client.request("GET", "/")).body == body


async def test_a_compressed_body_that_stops_early_is_retried(opened: OpenClient, server: ShopServer) -> None:
    whole = gzip.compress(b'{"a": 1}' * 100)
    server.answers(compressed(whole[: len(whole) // 2]), compressed(whole))
    async with opened() as client:
        assert (await client.request("GET", "/")).body == b'{"a": 1}' * 100


async def test_a_body_of_many_empty_gzip_members_is_rejected(opened: OpenClient, server: ShopServer) -> None:
    server.answers(compressed(gzip.compress(b"") * 10_000 + gzip.compress(b"[]")))
    async with opened() as client:
        with pytest.raises(SourceResponseInvalid, match="more than 16 gzip members"):
            await client.request("GET", "/")


@pytest.mark.parametrize(("size", "is_large"), [(2**19, False), (2**22, True)])
async def test_a_large_body_is_processed_in_a_thread(
    opened: OpenClient, server: ShopServer, size: int, is_large: bool
) -> None:
    body = json.dumps([os.urandom(16).hex() for _ in range(size // 36)]).encode()
    server.answers(status(200), compressed(gzip.compress(body, 1)))
    threads = CountedThreads()
    asyncio.get_running_loop().set_default_executor(threads)
    async with opened() as client:
        await client.request("GET", "/")
        assert threads.jobs == 0, "names are resolved without threads, which a silent name server would block"
        assert (await client.request("GET", "/")).body == body
    assert (threads.jobs > 0) == is_large


async def test_partial_content_is_not_checked_for_nesting(opened: OpenClient, server: ShopServer) -> None:
    """One part in a hundred of a compressed file starts with a bracket, and has thousands of them after it."""
    part = b"{" + b"[" * 1000

    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=206, body=part, headers={"Content-Range": f"bytes 10-{9 + len(part)}/9000"})

    server.answers(handle)
    async with opened() as client:
        assert (await client.request("GET", "/", headers={"Range": "bytes=10-1010"})).body == part


async def test_an_encoding_that_was_not_requested_is_rejected(opened: OpenClient, server: ShopServer) -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=b"x", headers={"Content-Encoding": "br"})

    server.answers(handle)
    async with opened() as client:
        with pytest.raises(SourceResponseInvalid, match="did not ask for"):
            await client.request("GET", "/")


@pytest.mark.parametrize(
    ("body", "levels"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "all"),
        (b"[" * 100_000, "never closed"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "one too many"),
        (b'["]",' * 100_000, "hidden behind brackets in strings"),
        (b'["\\"]",' * 100, "hidden behind escaped quotes"),
        (b"\xef\xbb\xbf \n" + b"[{" * 100, "after a byte order mark"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_json_that_is_nested_too_deep_is_rejected_before_it_is_parsed(
    opened: OpenClient, server: ShopServer, body: bytes, levels: str
) -> None:
    server.answers(compressed(gzip.compress(body)))
    async with opened() as client:
        with pytest.raises(SourceResponseInvalid, match="nested deeper than 64 levels"):
            await client.request("GET", "/")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 64 + b"]" * 64,
        b"[" + b"[]," * 100_000 + b"[]]",
        json.dumps({"text": "[" * 1000 + '"\\' + "{" * 1000}).encode(),
        b'[{"id": 1}, {"id": ',
        b"<html>" + b"[" * 1000,
    ],
    ids=["just deep enough", "wide", "brackets in text", "cut", "a web page"],
)
async def test_bodies_that_only_look_deeply_nested_are_returned(
    opened: OpenClient, server: ShopServer, body: bytes
) -> None:
    server.answers(compressed(gzip.compress(body)))
    async with opened() as client:
        assert (await client.request("GET", "/")).body == body


async def test_a_slowly_dripping_reply_ends_with_the_timeout_of_the_attempt(
    opened: OpenClient, server: ShopServer
) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        while request.transport and not request.transport.is_closing():
            await reply.write(b" ")
            await let_tasks_run(20)
        return reply

    server.answers(drip)
    config = HttpConfig(total_timeout=timedelta(seconds=0.3), retry=ONE_ATTEMPT)
    async with opened(config=config) as client, asyncio.timeout(TIMEOUT_SECONDS):
        with pytest.raises(SourceUnreachable, match="no answer in time"):
            await client.request("GET", "/")


async def test_a_wrongly_compressed_body_is_an_invalid_reply(opened: OpenClient, server: ShopServer) -> None:
    server.answers(compressed(b"not gzip at all"))
    async with opened() as client:
        with pytest.raises(SourceResponseInvalid, match="compressed"):
            await client.request("GET", "/")


async def test_a_path_cannot_lead_to_another_host(opened: OpenClient, server: ShopServer) -> None:
    async with opened() as client:
        await client.request("GET", "//evil.example/x")
        await client.request("GET", "/@evil.example/x?y#z")
        with pytest.raises(ValueError, match="slash"):
            await client.request("GET", "@evil.example/")
    assert [request.path for request in server.requests] == ["//evil.example/x", "/@evil.example/x?y#z"]


async def test_no_secret_is_logged_or_reported(
    opened: OpenClient, server: ShopServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    params = [("consumer_secret", SECRET)]
    server.answers(status(200, SECRET), status(503, SECRET), status(302, Location=f"/?s={SECRET}"))
    texts: list[str] = []
    async with opened(config=HttpConfig(retry=ONE_ATTEMPT)) as client:
        await client.request("GET", "/ok", params=params, headers={"X-Token": SECRET})
        for kind in (SourceUnreachable, SourceRedirected):
            with pytest.raises(kind) as caught:
                await client.request("GET", "/bad", params=params)
            texts += [str(caught.value), repr(caught.value), str(dict(caught.value.metadata))]
    logged = [str(record.__dict__) for record in caplog.records]
    assert any("/ok -> 200" in record.getMessage() for record in caplog.records)
    assert not [text for text in (*texts, *logged) if SECRET in text]


async def test_a_redirect_is_described_without_what_may_be_a_key(opened: OpenClient, server: ShopServer) -> None:
    target = "https://other.example/wp/ck_0123456789abcdef0123/login?consumer_key=hunter2#token"
    server.answers(status(301, Location=target))
    async with opened() as client:
        with pytest.raises(SourceRedirected) as caught:
            await client.request("GET", "/")
    assert caught.value.metadata["location"] == "https://other.example/wp/.../login"
