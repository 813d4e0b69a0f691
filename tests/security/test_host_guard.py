"""No shop reference, DNS answer or redirect makes the connector call a denied address, or send a token there.

The connector's real client, platforms and gRPC service run against a real DNS server and real listeners. An audit
hook of Python records every attempted connection, so that addresses that no test can listen on count as well.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import aiohttp
import pytest
from catalogsync_common.ssrf_guard import AddressForbidden, AddressGuard, GuardedConnector, GuardedResolver
from yarl import URL

from connector_svc.credentials.token_service import TokenServiceConfig, TokenServiceCredentials
from connector_svc.domain.errors import (
    CredentialsNotFound,
    SourceAddressForbidden,
    SourceFailure,
    SourceRedirected,
    SourceResponseInvalid,
    TokenServiceUnavailable,
)
from connector_svc.domain.shop import Shop
from connector_svc.http.client import open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.platforms.base import Secret
from connector_svc.platforms.shopify.queries import FILE_HOSTS
from tests.fakes.shop_server import SHOP, serving, status
from tests.security.connect_log import ConnectAudit
from tests.security.hostile_network import (
    PLATFORMS,
    TOKEN,
    HostileNetwork,
    PortMappingResolver,
    check_shop,
    fetch_products,
)
from tests.security.hostile_references import DENIED, LOOPBACK, PUBLIC, PUBLIC_V6, references
from tests.tls import client_context

REFUSALS = {"INVALID_REQUEST", "SOURCE_ADDRESS_FORBIDDEN", "SOURCE_UNREACHABLE"}
LISTENED = {"127.0.0.1", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"}
"""Addresses at which the canary answers."""


def test_there_are_at_least_500_hostile_references() -> None:
    assert len(references()) >= 500
    assert min(Counter(one.family for one in references()).values()) >= 15


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_no_reference_leads_to_a_denied_address(
    network: HostileNetwork, connect_audit: ConnectAudit, platform: str
) -> None:
    async with network.connector() as connector:
        with connect_audit.recording() as log:
            reasons = {one.domain: await check_shop(connector, platform, one.domain) for one in references()}
    assert {domain[:80]: reason for domain, reason in reasons.items() if reason not in REFUSALS} == {}
    assert set(log.addresses) <= {PUBLIC, PUBLIC_V6}
    assert (network.canary.connections, bytes(network.canary.received)) == (0, b"")
    assert log.lookups == [], "the system's resolver was asked"


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_no_stream_of_products_leads_to_a_denied_address(
    network: HostileNetwork, connect_audit: ConnectAudit, platform: str
) -> None:
    zone = "myshopify.com" if platform == "shopify" else "hostile.example"
    async with network.connector() as connector:
        with connect_audit.recording() as log:
            reasons = {
                await fetch_products(connector, platform, f"{kind}{index}.{zone}")
                for kind in ("only", "alias", "mixed")
                for index in range(len(DENIED))
            }
    assert reasons <= REFUSALS
    assert set(log.addresses) <= {PUBLIC, PUBLIC_V6}
    assert network.canary.connections == 0


async def test_the_client_itself_refuses_every_reference_whatever_a_request_validator_let_through(
    network: HostileNetwork, connect_audit: ConnectAudit
) -> None:
    async with network.http() as http:
        with connect_audit.recording() as log:
            for one in references():
                with pytest.raises(SourceFailure):
                    await http.to_shop(Shop("woocommerce", one.domain)).request(
                        "GET", "/", headers={"X-Shopify-Access-Token": TOKEN}
                    )
    assert set(log.addresses) <= {PUBLIC, PUBLIC_V6}
    assert network.canary.connections == 0
    assert log.lookups == []


async def test_without_the_guard_the_canary_gets_the_token(
    network: HostileNetwork, connect_audit: ConnectAudit
) -> None:
    """The control: a configured base URL is not guarded, and then all these connections are made."""
    names = [f"{kind}{index}.hostile.example" for kind in ("only", "alias") for index in range(len(DENIED))]
    overrides = {name: f"https://{name}" for name in names}
    async with network.connector(overrides) as connector:
        with connect_audit.recording() as log:
            for name in names:
                await check_shop(connector, "feed", name)
    # The form in which c-ares writes "::ffff:7f00:1" is not that of the table.
    attempted = {socket.inet_pton(socket.AF_INET6 if ":" in one else socket.AF_INET, one) for one in log.addresses}
    expected = {socket.inet_pton(socket.AF_INET6 if ":" in one else socket.AF_INET, one) for one in DENIED}
    assert attempted == expected
    assert network.canary.connections >= len(LISTENED)
    assert TOKEN.encode() in network.canary.received


async def test_only_the_public_one_of_several_addresses_is_called(
    network: HostileNetwork, connect_audit: ConnectAudit
) -> None:
    async with network.connector() as connector:
        with connect_audit.recording() as log:
            for index in range(len(DENIED)):
                reason = await check_shop(connector, "feed", f"mixed{index}.hostile.example")
                assert reason == "SOURCE_UNREACHABLE", DENIED[index]
    assert set(log.addresses) == {PUBLIC}


async def test_an_answer_that_changes_between_two_queries_is_checked_each_time(
    network: HostileNetwork, connect_audit: ConnectAudit
) -> None:
    """DNS rebinding. The resolver's cache is off, so that each request resolves again."""
    guard = AddressGuard(is_exempt=lambda _host, _port: False)
    resolver = PortMappingResolver(network.dns.open_resolver(), network.canary)
    connector = GuardedConnector(guard, GuardedResolver(guard, resolver), use_dns_cache=False)
    names = [f"rebind{index}.hostile.example" for index in range(len(DENIED))]
    with connect_audit.recording() as log:
        async with aiohttp.ClientSession(connector=connector) as session:
            for name in names:
                with pytest.raises(aiohttp.ClientConnectorError, match="no connection leave"):
                    await session.get(f"https://{name}/")
            network.answers.rebound = True
            for name in names:
                with pytest.raises(AddressForbidden):
                    await session.get(f"https://{name}/")
    await resolver.close()
    assert set(log.addresses) == {PUBLIC, PUBLIC_V6}
    assert network.canary.connections == 0


@pytest.mark.parametrize("address", LOOPBACK)
async def test_an_address_in_the_place_of_a_name_is_not_connected_to(
    network: HostileNetwork, connect_audit: ConnectAudit, address: str
) -> None:
    """aiohttp does not ask the resolver about IP literals."""
    guard = AddressGuard(is_exempt=lambda _host, _port: False)
    url = URL.build(scheme="http", host=address, port=network.canary.plain_port)
    with connect_audit.recording() as log:
        async with aiohttp.ClientSession(connector=GuardedConnector(guard, GuardedResolver(guard))) as session:
            with pytest.raises(AddressForbidden):
                await session.get(url)
    assert log.addresses == []
    assert network.canary.connections == 0


async def test_a_pooled_connection_is_checked_before_it_is_used_again(network: HostileNetwork) -> None:
    """A base URL that was allowed when the connection was opened, and no longer is."""
    exempt = True
    guard = AddressGuard(is_exempt=lambda _host, _port: exempt)
    url = f"http://127.0.0.1:{network.canary.plain_port}/"
    resolver = GuardedResolver(guard, network.dns.open_resolver())
    async with aiohttp.ClientSession(connector=GuardedConnector(guard, resolver)) as session:
        # By name: an address would be refused before the pool is asked.
        named = URL(url).with_host("only0.hostile.example")
        async with session.get(named) as response:
            await response.read()
        before = len(network.canary.received)
        exempt = False
        with pytest.raises(AddressForbidden):
            await session.get(named, headers={"Authorization": TOKEN})
    await resolver.close()
    assert network.canary.connections == 1
    assert len(network.canary.received) == before


def redirect_targets(network: HostileNetwork) -> Iterator[str]:
    """Yield where a shop may try to send its caller: inside, to another host, to another scheme."""
    plain, tls = network.canary.plain_port, network.canary.tls_port
    yield from (
        f"http://127.0.0.1:{plain}/",
        f"https://127.0.0.1:{tls}/",
        f"http://[::1]:{plain}/",
        "//127.0.0.1/",
    )
    yield from (f"//127.0.0.1:{plain}/a", "https://only0.hostile.example/", "http://only0.hostile.example/")
    yield from ("http://169.254.169.254/latest/meta-data/", "http://store.example/", "https://evil.example/?a=1")
    yield from (
        f"http://user:{TOKEN}@127.0.0.1:{plain}/",
        "/admin/elsewhere",
        "",
        "\\\\127.0.0.1\\",
        "file:///etc/passwd",
    )


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("platform", PLATFORMS)
async def test_a_redirect_is_never_followed(
    network: HostileNetwork, connect_audit: ConnectAudit, platform: str, code: int
) -> None:
    domain = {"shopify": "a.myshopify.com", "bigcommerce": "store-a.mybigcommerce.com"}.get(platform, "a.example")
    async with serving() as shop:
        port = URL(shop.url).port or 0
        async with network.connector({domain: shop.url}) as connector:
            with connect_audit.recording(port) as log:
                for target in redirect_targets(network):
                    shop.answers(status(code, Location=target))
                    reason = await check_shop(connector, platform, domain)
                    assert reason in {"SOURCE_REDIRECTED", "SOURCE_NOT_FOUND"}, target
        assert any(TOKEN in str(request.headers) or platform == "woocommerce" for request in shop.requests)
    assert log.addresses == []
    assert (network.canary.connections, bytes(network.canary.received)) == (0, b"")


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_the_token_services_redirect_is_not_followed(
    network: HostileNetwork, connect_audit: ConnectAudit, code: int
) -> None:
    async with serving() as service, network.http() as http:
        config = TokenServiceConfig(base_url=URL(service.url), secret=Secret(TOKEN))
        for target in redirect_targets(network):
            service.answers(status(code, Location=target))
            with (
                connect_audit.recording(URL(service.url).port or 0) as log,
                pytest.raises(TokenServiceUnavailable),
            ):
                await TokenServiceCredentials(config, http.services).credentials(SHOP)
            assert log.addresses == []
        assert {request.headers["Authorization"] for request in service.requests} == {f"Bearer {TOKEN}"}
    assert network.canary.connections == 0


async def download(http: Any, url: str) -> bytes:
    """Download a bulk result of a Shopify shop."""
    shop = http.to_shop(Shop("shopify", "a.myshopify.com"))
    return b"".join([chunk async for chunk in shop.download(url, hosts=FILE_HOSTS, max_bytes=1_000)])


async def test_the_result_of_a_bulk_job_is_downloaded_from_its_host_alone(
    network: HostileNetwork, connect_audit: ConnectAudit
) -> None:
    host = "storage.googleapis.com"
    forms = (
        "http://{}/a", "https://{}:8443/a", "https://{}@evil.example/a", "https://evil.example/{}", "https://{}.evil.example/",
        "https://evil.example#@{}/", "https://{}%2eevil.example/", "https://x{}/", "https://{}./a", "//{}/a", "ftp://{}/a",
        "https://a:b@{}/", "https://evil.example\\@{}/", "https://127.0.0.1/?{}", "https://[::1]/?{}",
    )  # fmt: skip
    urls = [form.format(host) for form in forms]
    urls += [f"https://{one.domain}/file" for one in references()]
    async with network.http() as http:
        with connect_audit.recording() as log:
            for url in (*urls, f"https://{host}/file"):
                # The last one is on the list, and DNS says that it is inside.
                with pytest.raises(SourceAddressForbidden):
                    await download(http, url)
    assert log.addresses == []
    assert network.canary.connections == 0


async def test_a_download_sends_no_credentials_and_follows_no_redirect(
    network: HostileNetwork, connect_audit: ConnectAudit
) -> None:
    async with serving() as files, network.http({"storage.googleapis.com": files.url}) as http:
        with connect_audit.recording(URL(files.url).port or 0) as log:
            for code in (301, 302, 303, 307, 308):
                for target in redirect_targets(network):
                    files.answers(status(code, Location=target))
                    with pytest.raises(SourceRedirected):
                        await download(http, "https://storage.googleapis.com/file?signature=1")
            files.answers(status(200, "rows"))
            assert await download(http, "https://storage.googleapis.com/file?signature=1") == b"rows"
        sent = {name for request in files.requests for name in request.headers}
        assert sent == {"Host", "Accept", "Accept-Encoding", "User-Agent"}
    assert log.addresses == []
    assert network.canary.connections == 0


async def test_a_redirect_to_a_public_host_sends_no_token_there(
    network: HostileNetwork, connect_audit: ConnectAudit
) -> None:
    """aiohttp drops Authorization on such a redirect, and sends X-Shopify-Access-Token on."""
    domain = "a.myshopify.com"
    async with serving() as shop, serving() as other, network.connector({domain: shop.url}) as connector:
        shop.answers(status(307, Location=f"{other.url}/"))
        assert await check_shop(connector, "shopify", domain) == "SOURCE_REDIRECTED"
        assert other.requests == []


class CountingExecutor(ThreadPoolExecutor):
    """Counts what it runs."""

    def __init__(self) -> None:
        # As many threads as usual: the tests that follow use the same event loop.
        super().__init__()
        self.submitted: list[str] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted.append(repr(fn))
        return super().submit(fn, *args, **kwargs)


async def test_no_lookup_takes_a_thread_of_the_default_executor(
    network: HostileNetwork, connect_audit: ConnectAudit
) -> None:
    """The sessions for shops, for the Token Service and for downloads all resolve with aiodns."""
    base_url = f"http://localhost:{network.canary.plain_port}"
    endpoints = Endpoints.of({"a.example": base_url, "storage.googleapis.com": base_url})
    tokens = TokenServiceConfig(base_url=URL(base_url))
    executor = CountingExecutor()
    asyncio.get_running_loop().set_default_executor(executor)
    async with open_http(HttpConfig(endpoints=endpoints, tls=client_context())) as http:
        with connect_audit.recording() as log:
            await http.to_shop(Shop("woocommerce", "a.example")).request("GET", "/")
            with pytest.raises(CredentialsNotFound):
                await TokenServiceCredentials(tokens, http.services).credentials(SHOP)
            with pytest.raises(SourceResponseInvalid):
                await download(http, "https://storage.googleapis.com/file")
    assert network.canary.connections == 3
    assert (executor.submitted, log.lookups) == ([], [])
