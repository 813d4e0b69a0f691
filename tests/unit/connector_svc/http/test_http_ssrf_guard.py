from __future__ import annotations

import socket
from ipaddress import ip_network

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from catalogsync_common.settings import load_settings
from catalogsync_common.ssrf_guard import (
    AddressForbidden,
    AddressGuard,
    GuardedConnector,
    GuardedResolver,
    is_ip_literal,
    is_public,
)

from connector_svc.domain.errors import SourceAddressForbidden
from connector_svc.domain.shop import Shop
from connector_svc.http.client import open_http
from connector_svc.http.config import Endpoints
from connector_svc.settings import ConnectorSettings
from tests.fakes.shop_server import FakeEnvironment, ShopServer


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "192.0.0.8",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        "2001::1",
        "2002:7f00:1::",
        "fc00::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_internal_addresses_are_forbidden(address: str) -> None:
    assert not is_public(address)


def test_denied_networks_are_forbidden() -> None:
    for written in ("8.8.8.8", "::ffff:8.8.8.8"):
        assert not is_public(written, [ip_network("8.8.0.0/16")])
    assert is_public("8.9.8.8", [ip_network("8.8.0.0/16")])


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "[::1]", "::1", "1.2.3.4."])
def test_an_ip_literal_is_recognized_in_every_form(host: str) -> None:
    assert is_ip_literal(host)
    assert not is_ip_literal("1und1.example")


@pytest.mark.parametrize(
    "domain",
    [
        "127.0.0.1",
        "[::ffff:127.0.0.1]",
        "0x7f.1",
        "2130706433",
        "a.example:8080",
        "u@a.example",
        "a.example#b",
        "",
    ],
)
async def test_a_domain_that_is_not_a_host_name_is_not_called(domain: str) -> None:
    async with open_http() as http:
        with pytest.raises(SourceAddressForbidden):
            http.to_shop(Shop("woocommerce", domain))


async def test_a_domain_that_resolves_to_loopback_is_not_called(env: FakeEnvironment) -> None:
    async with open_http(None, env.dependencies()) as http:
        with pytest.raises(SourceAddressForbidden, match="internal"):
            await http.to_shop(Shop("woocommerce", "localhost")).request("GET", "/")
    assert env.sleeps == [], "a forbidden address is not retried"


class FixedResolver(AbstractResolver):
    """Resolves every name to the same addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self.addresses
        ]

    async def close(self) -> None: ...


GUARD = AddressGuard(is_exempt=lambda host, port: (host, port) == ("inside.example", 8443))


async def test_only_the_public_addresses_of_a_name_are_used() -> None:
    resolver = GuardedResolver(GUARD, FixedResolver("10.0.0.1", "8.8.8.8", "::1"))
    assert [answer["host"] for answer in await resolver.resolve("store.example", 443)] == ["8.8.8.8"]


async def test_a_name_with_only_internal_addresses_is_forbidden() -> None:
    with pytest.raises(AddressForbidden):
        await GuardedResolver(GUARD, FixedResolver("10.0.0.1")).resolve("store.example", 443)


async def test_only_the_exact_host_and_port_of_an_override_may_be_internal() -> None:
    resolver = GuardedResolver(GUARD, FixedResolver("10.0.0.1"))
    assert await resolver.resolve("inside.example", 8443)
    with pytest.raises(AddressForbidden):
        await resolver.resolve("inside.example", 443)


async def test_the_peer_is_checked_before_anything_is_sent(server: ShopServer) -> None:
    """The resolver allows everything; the peer is an internal address."""
    strict = AddressGuard(is_exempt=lambda *_: False)
    lenient = GuardedResolver(AddressGuard(is_exempt=lambda *_: True))
    async with aiohttp.ClientSession(connector=GuardedConnector(strict, lenient)) as session:
        with pytest.raises(AddressForbidden, match="leads to an internal address"):
            await session.get(server.url)
    assert server.requests == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ftp://x", "must look like"),
        ("//x", "must look like"),
        ("store", "must look like"),
        ("https://", "must look like"),
        ("https://[x", "must look like"),
        ("https://u:hunter2@x", "user or password"),
        ("https://x/?a=hunter2", "no query"),
        ("https://x/#a", "no fragment"),
    ],
)
def test_a_wrong_base_url_is_rejected_without_being_quoted(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Endpoints.of({"store.example": text})
    assert "store.example" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_overrides_are_found_under_the_canonical_domain() -> None:
    endpoints = Endpoints.of({"Store.Example.": "http://127.0.0.1:8080/pre/"})
    assert str(endpoints.base_url("store.example")) == "http://127.0.0.1:8080/pre"
    assert str(endpoints.base_url("other.example")).rstrip("/") == "https://other.example"


@pytest.mark.parametrize(
    "address", ["::ffff:0:7f00:1", "4000::1", "5f00::1", "3fff::1", "100::1", "192.88.99.1", "::ffff:224.0.0.1"]
)
def test_addresses_that_python_wrongly_calls_global_are_forbidden(address: str) -> None:
    assert not is_public(address)


def test_denied_networks_are_read_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTOR_DENIED_NETWORKS", "203.0.113.0/24, 2001:db8::/32")
    networks = load_settings(ConnectorSettings).denied_networks
    assert networks == (ip_network("203.0.113.0/24"), ip_network("2001:db8::/32"))


async def test_a_name_that_resolves_into_a_denied_network_is_forbidden() -> None:
    guard = AddressGuard(is_exempt=lambda *_: False, denied=(ip_network("8.8.8.0/24"),))
    resolver = GuardedResolver(guard, FixedResolver("8.8.8.8", "8.8.9.9"))
    assert [answer["host"] for answer in await resolver.resolve("store.example", 443)] == ["8.8.9.9"]
