from __future__ import annotations

import gzip
import logging

import pytest
from aiohttp import web

from connector_svc.domain.errors import SourceRedirected, SourceResponseInvalid, SourceUnreachable
from connector_svc.http.config import HttpConfig
from connector_svc.http.retry import RetryPolicy
from tests.fakes.shop_server import Handler, OpenClient, ShopServer, serving, status

SECRET = "cs_0123456789abcdef"
ONE_ATTEMPT = RetryPolicy(attempts=1)


def compressed(body: bytes) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": "gzip"}, content_type="application/json")

    return handle


async def test_the_path_and_the_parameters_arrive_as_they_were_given_below_the_prefix(
    opened: OpenClient, server: ShopServer
) -> None:
    async with opened("/demo/") as client:
        await client.request("GET", "/wp-json/wc/v3", params=[("a", "b&c=d #e"), ("a", "ü"), ("page", "2")])
    [request] = server.requests
    assert request.path == "/demo/wp-json/wc/v3"
    assert list(request.query.items()) == [("a", "b&c=d #e"), ("a", "ü"), ("page", "2")]


async def test_every_request_says_who_asks_and_on_behalf_of_which_call(
    opened: OpenClient, server: ShopServer
) -> None:
    async with opened() as client:
        await client.request("POST", "/x", headers={"accept": "text/plain", "X-Token": SECRET}, body=b"{}")
    [request] = server.requests
    assert request.headers["User-Agent"].startswith("catalogsync/")
    assert request.headers["x-correlation-id"] == "abc-123"
    assert request.headers.getall("Accept") == ["text/plain"]
    assert request.headers["X-Token"] == SECRET
    assert server.bodies == [b"{}"]


async def test_json_is_asked_for_unless_said_otherwise(opened: OpenClient, server: ShopServer) -> None:
    async with opened() as client:
        await client.request("GET", "/")
    assert server.requests[0].headers["Accept"] == "application/json"
    assert server.requests[0].headers["Accept-Encoding"] == "gzip"


async def test_headers_of_a_reply_are_found_in_any_case(opened: OpenClient, server: ShopServer) -> None:
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


async def test_no_cookie_of_one_shop_is_sent_again(opened: OpenClient, server: ShopServer) -> None:
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


async def test_a_compressed_body_is_unpacked(opened: OpenClient, server: ShopServer) -> None:
    server.answers(compressed(gzip.compress(b'{"a": 1}')))
    async with opened() as client:
        assert (await client.request("GET", "/")).body == b'{"a": 1}'


async def test_a_body_above_the_limit_is_refused(opened: OpenClient, server: ShopServer) -> None:
    server.answers(status(200, "x" * 2**20), status(200, "x" * (2**20 + 1)))
    async with opened(config=HttpConfig(max_body_bytes=2**20)) as client:
        assert len((await client.request("GET", "/")).body) == 2**20
        with pytest.raises(SourceResponseInvalid, match="larger than 1 MiB"):
            await client.request("GET", "/")


async def test_a_small_body_that_unpacks_above_the_limit_is_refused(
    opened: OpenClient, server: ShopServer
) -> None:
    bomb = gzip.compress(b"0" * 2**26)
    assert len(bomb) < 2**17
    server.answers(compressed(bomb))
    async with opened() as client:
        with pytest.raises(SourceResponseInvalid, match="larger than 20 MiB"):
            await client.request("GET", "/")


async def test_a_wrongly_compressed_body_is_no_answer_of_an_api(opened: OpenClient, server: ShopServer) -> None:
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


async def test_no_secret_is_logged_or_told(
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
