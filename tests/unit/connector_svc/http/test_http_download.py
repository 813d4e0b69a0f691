"""Downloads from a platform's file host, over real sockets."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from connector_svc.domain.errors import (
    SourceAddressForbidden,
    SourceFailure,
    SourceRedirected,
    SourceResponseInvalid,
    SourceUnreachable,
)
from connector_svc.domain.fetch import Wait, WaitReason
from connector_svc.domain.shop import Shop
from connector_svc.http.client import open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.http.connection_limits import ConnectionLimiter
from connector_svc.http.dependencies import Host, HostClass, HttpDependencies
from connector_svc.http.download import Downloader, DownloadTimeouts, resolve_file_url
from connector_svc.http.failures import AddressForbidden, HttpFailure, UnusableResponse
from connector_svc.http.retry import RetryPolicy
from tests.waiting import forever

SHOP = Shop("shopify", "demo.myshopify.com")
HOST = "storage.googleapis.com"
HOSTS = frozenset({HOST})
ADDRESS = f"https://{HOST}/bucket/result.jsonl?Expires=1&Signature=a%2Bb%3D"
BODY = bytes(range(256)) * 4_000
LARGE = 10**9

Answer = Callable[["FileHost", web.Request], web.StreamResponse | None]


@dataclass
class FileHost:
    """Serves one file, after one response for each entry of `instead`."""

    body: bytes = BODY
    tag: str = '"1"'
    instead: list[Answer] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    """After this many bytes of the next answers the connection breaks."""
    seen: list[CIMultiDict[str]] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    stay_silent: bool = False
    knows_ranges: bool = True

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request.headers.copy())
        self.targets.append(request.raw_path)
        instead = self.instead.pop(0)(self, request) if self.instead else None
        if instead is not None:
            return instead
        asked = request.headers.get("Range", "") if self.knows_ranges else ""
        begin = int(asked.removeprefix("bytes=").removesuffix("-") or 0)
        size = len(self.body)
        reply = web.StreamResponse(status=206 if begin else 200, headers={"ETag": self.tag})
        reply.content_length = size - begin
        if begin:
            reply.headers["Content-Range"] = f"bytes {begin}-{size - 1}/{size}"
        await reply.prepare(request)
        if self.cuts:
            await reply.write(self.body[begin : begin + self.cuts.pop(0)])
            if self.stay_silent:
                await forever()
            assert request.transport
            request.transport.close()
            return reply
        await reply.write(self.body[begin:])
        await reply.write_eof()
        return reply


@asynccontextmanager
async def serving(host: FileHost) -> AsyncIterator[URL]:
    app = web.Application()
    app.router.add_get("/{path:.*}", host.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield URL(f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


async def _at_once(_: timedelta) -> None: ...


async def download(
    host: FileHost,
    *,
    address: str = ADDRESS,
    max_bytes: int = LARGE,
    attempts: int = 3,
    on_wait: Callable[[Wait], None] | None = None,
) -> bytes:
    async with serving(host) as url:
        config = HttpConfig(endpoints=Endpoints.of({HOST: str(url)}), retry=RetryPolicy(attempts=attempts))
        async with open_http(config, HttpDependencies(sleep=_at_once)) as http:
            stream = http.to_shop(SHOP, on_wait=on_wait).download(address, hosts=HOSTS, max_bytes=max_bytes)
            return b"".join([chunk async for chunk in stream])


async def failure_of(host: FileHost, **options: object) -> SourceFailure:
    with pytest.raises(SourceFailure) as caught:
        await download(host, **options)  # type: ignore[arg-type]
    assert "Signature" not in str(caught.value) + repr(caught.value.metadata)
    return caught.value


async def test_a_file_is_streamed_and_its_signed_address_is_sent_unchanged() -> None:
    host = FileHost()
    assert await download(host) == BODY
    assert host.targets == ["/bucket/result.jsonl?Expires=1&Signature=a%2Bb%3D"]


async def test_only_the_necessary_headers_are_sent() -> None:
    host = FileHost()
    await download(host)
    assert {name.lower() for name in host.seen[0]} == {"host", "accept", "accept-encoding", "user-agent"}


async def test_a_broken_download_resumes_at_the_byte_where_it_broke() -> None:
    host = FileHost(cuts=[100_000, 300_000])
    waits: list[Wait] = []
    assert await download(host, on_wait=waits.append) == BODY
    assert [headers.get("Range") for headers in host.seen] == [None, "bytes=100000-", "bytes=400000-"]
    assert len(waits) == 2


async def test_no_byte_is_yielded_twice_by_a_host_without_range_requests() -> None:
    host = FileHost(cuts=[100_000, 300_000], knows_ranges=False)
    assert await download(host) == BODY
    assert len(host.seen) == 3


async def test_attempts_are_reset_by_each_connection_that_delivers_bytes() -> None:
    host = FileHost(cuts=[50_000] * 10)
    assert await download(host, attempts=2) == BODY


async def test_connections_that_deliver_nothing_exhaust_the_attempts() -> None:
    host = FileHost(cuts=[0] * 10)
    assert isinstance(await failure_of(host, attempts=3), SourceUnreachable)
    assert len(host.seen) == 3


async def test_a_busy_file_host_is_retried_at_the_time_of_retry_after() -> None:
    def busy(status: int, **headers: str) -> Answer:
        return lambda *_: web.Response(status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})

    waits: list[Wait] = []
    host = FileHost(instead=[busy(503), busy(429, Retry_After="7"), busy(524)])
    begin = datetime.now(UTC)
    assert await download(host, attempts=4, on_wait=waits.append) == BODY
    reasons = [WaitReason.SOURCE_UNREACHABLE, WaitReason.THROTTLED, WaitReason.SOURCE_UNREACHABLE]
    assert [wait.reason for wait in waits] == reasons
    assert waits[1].until >= begin + timedelta(seconds=7)


async def test_a_retry_after_above_the_limit_ends_the_download() -> None:
    host = FileHost(instead=[lambda *_: web.Response(status=429, headers={"Retry-After": "3600"})])
    failure = await failure_of(host)
    assert (failure.reason, failure.retry_after) == ("SOURCE_RATE_LIMITED", timedelta(hours=1))


@pytest.mark.parametrize("status", [401, 403, 404, 410, 416])
async def test_a_missing_file_is_not_retried(status: int) -> None:
    host = FileHost(instead=[lambda *_: web.Response(status=status, text="<Error/>")])
    assert isinstance(await failure_of(host), SourceResponseInvalid)
    assert len(host.seen) == 1


async def test_a_redirect_is_not_followed() -> None:
    host = FileHost(instead=[lambda *_: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})])
    assert isinstance(await failure_of(host), SourceRedirected)


async def test_a_file_above_the_limit_is_not_read_further() -> None:
    assert isinstance(await failure_of(FileHost(), max_bytes=len(BODY) - 1), SourceResponseInvalid)
    assert await download(FileHost(), max_bytes=len(BODY)) == BODY


async def test_parts_of_two_files_are_never_joined() -> None:
    def replaced(host: FileHost, request: web.Request) -> None:
        host.tag, host.body = '"2"', bytes(len(BODY))

    host = FileHost(cuts=[1_000], instead=[lambda *_: None, replaced])
    assert isinstance(await failure_of(host), SourceResponseInvalid)


async def test_a_rest_that_starts_at_another_byte_is_rejected() -> None:
    def elsewhere(host: FileHost, request: web.Request) -> web.Response:
        headers = {"ETag": host.tag, "Content-Range": "bytes 7-8/9"}
        return web.Response(status=206, body=b"xx", headers=headers)

    host = FileHost(cuts=[1_000], instead=[lambda *_: None, elsewhere])
    assert isinstance(await failure_of(host), SourceResponseInvalid)


async def test_compressed_files_are_rejected_because_they_were_not_requested() -> None:
    def packed(host: FileHost, request: web.Request) -> web.Response:
        return web.Response(body=b"xx", headers={"Content-Encoding": "gzip"})

    assert isinstance(await failure_of(FileHost(instead=[packed])), SourceResponseInvalid)


@pytest.mark.parametrize(
    "address",
    [
        f"http://{HOST}/x",
        f"https://{HOST}:8443/x",
        f"https://user:word@{HOST}/x",
        f"https://{HOST}.evil.example/x",
        f"https://evil.example/{HOST}",
        "https://169.254.169.254/latest",
        "https://127.0.0.1/x",
        "https://demo.myshopify.com/x",
        "file:///etc/passwd",
        "//storage.googleapis.com/x",
        "https://[::1/x",
        "",
    ],
)
async def test_no_other_host_is_called(address: str) -> None:
    host = FileHost()
    assert isinstance(await failure_of(host, address=address), SourceAddressForbidden)
    assert host.seen == []


def test_a_file_next_to_a_shop_is_read_only_if_its_address_is_an_override() -> None:
    named = Endpoints.of({"demo.myshopify.com": "http://127.0.0.1:8443/demo"})
    base = named.base_url("demo.myshopify.com")
    found = resolve_file_url("http://127.0.0.1:8443/_files/x?S=1", hosts=HOSTS, base_url=base, endpoints=named)
    assert str(found) == "http://127.0.0.1:8443/_files/x?S=1"
    with pytest.raises(AddressForbidden):
        resolve_file_url("http://127.0.0.1:8444/x", hosts=HOSTS, base_url=base, endpoints=named)
    own = URL("https://demo.myshopify.com")
    with pytest.raises(AddressForbidden):
        resolve_file_url("https://demo.myshopify.com/x", hosts=HOSTS, base_url=own, endpoints=Endpoints())


async def limited(host: FileHost, timeouts: DownloadTimeouts, dependencies: HttpDependencies) -> HttpFailure:
    async with serving(host) as url, aiohttp.ClientSession(auto_decompress=False) as session:
        limiter = ConnectionLimiter(per_host=1, total=1, clock=dependencies.clock)
        downloader = Downloader(
            session, RetryPolicy(attempts=2), dependencies, timeouts, limiter=limiter, user_agent="test"
        )
        with pytest.raises(HttpFailure) as caught:
            async for _ in downloader.chunks(url, host=Host(name="a", host_class=HostClass.SHOP), max_bytes=LARGE):
                pass
    return caught.value


async def test_a_file_host_that_falls_silent_ends_the_download() -> None:
    host = FileHost(cuts=[10, 0, 0], stay_silent=True)
    timeouts = DownloadTimeouts(idle=timedelta(milliseconds=50))
    assert "broke off" in (await limited(host, timeouts, HttpDependencies(sleep=_at_once))).detail


async def test_a_download_that_takes_too_long_ends() -> None:
    ticks = iter(range(10**6))
    dependencies = replace(HttpDependencies(sleep=_at_once), monotonic=lambda: float(next(ticks)))
    failure = await limited(FileHost(), DownloadTimeouts(total=timedelta(seconds=1)), dependencies)
    assert isinstance(failure, UnusableResponse)


async def test_no_log_holds_the_signature(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await download(FileHost(cuts=[10]))
    assert not [r for r in caplog.records if r.name.startswith("connector_svc") and "Signature" in r.getMessage()]
