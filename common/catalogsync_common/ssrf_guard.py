"""SSRF guard: keeps an HTTP client out of internal networks, whatever the DNS of others says.

A name is resolved here, so that a forbidden address is never connected to; aiohttp does not ask the resolver about
IP literals, so those are checked apart. The peer is checked again before anything is sent, because a pooled
connection is neither resolved nor connected.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

from aiohttp import ClientRequest, ClientTimeout, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from aiohttp.resolver import AsyncResolver
from aiohttp.tracing import Trace

Network: TypeAlias = IPv4Network | IPv6Network

_DNS_TIMEOUT_SECONDS: Final = 5.0
"""Of one query to one name server."""
_DNS_TRIES: Final = 2

# `is_global` is not enough: Python calls all of these global although they lead inside, or embed an IPv4
# address that does.
_INTERNAL_THOUGH_GLOBAL: Final[tuple[Network, ...]] = tuple(
    ip_network(text)
    for text in (
        "100.64.0.0/10",  # carrier-grade NAT
        "192.0.0.0/24",
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # Azure's WireServer: a public address that leads to the host of the virtual machine
    )
)
_IPV6_GLOBAL_UNICAST: Final = ip_network("2000::/3")
"""The only IPv6 block that was ever allocated; a shop's DNS has no reason to name an address outside of it."""


def is_ip_literal(host: str) -> bool:
    """Return whether `host` is an address instead of a name, in any form that the system would accept as one."""
    if ":" in host or host.startswith("["):
        return True
    # getaddrinfo also accepts "2130706433", "0x7f.1" and "127.1": whatever ends in a number is an address.
    last = host.rstrip(".").rpartition(".")[2]
    return last.isdigit() or last.startswith("0x")


def is_public(address: str, denied: Iterable[Network] = ()) -> bool:
    """Return whether `address` is on the public internet and in none of the `denied` networks."""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    if not ip.is_global or ip.is_multicast or (isinstance(ip, IPv6Address) and ip not in _IPV6_GLOBAL_UNICAST):
        return False
    return not any(ip in network for network in (*_INTERNAL_THOUGH_GLOBAL, *denied))


class AddressForbidden(Exception):
    """A host leads into a network that must not be called."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AddressGuard:
    """Decides which address may be called for which host."""

    is_exempt: Callable[[str, int], bool]
    """Whether the operator configured the host and port, so that its address is not checked."""
    denied: tuple[Network, ...] = ()
    refusal: Callable[[str], Exception] = AddressForbidden
    """Makes the exception that is raised instead of a connection, of a text for people."""

    def allows(self, host: str, port: int, address: str) -> bool:
        """Return whether `address` may be called for `host`."""
        return self.is_exempt(host, port) or is_public(address, self.denied)


def open_dns_resolver() -> AbstractResolver:
    """Return the resolver of all outbound requests; it must be closed.

    It is not the system's getaddrinfo, which blocks a thread for as long as a name server stays silent: a few
    shops with such a name would take all threads of the process.
    """
    return AsyncResolver(timeout=_DNS_TIMEOUT_SECONDS, tries=_DNS_TRIES)


class GuardedResolver(AbstractResolver):
    """Resolves names to allowed addresses only."""

    def __init__(self, guard: AddressGuard, inner: AbstractResolver | None = None) -> None:
        self._guard = guard
        self._inner = inner or open_dns_resolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the allowed addresses of `host`. Raises the refusal if it has some and none is allowed."""
        results = await self._inner.resolve(host, port, family)
        allowed = [result for result in results if self._guard.allows(host, port, result["host"])]
        if results and not allowed:
            raise self._guard.refusal("the domain resolves to an internal address")
        return allowed

    async def close(self) -> None:
        await self._inner.close()


class GuardedConnector(TCPConnector):
    """Rejects a connection by its peer address, before a byte of the request is sent."""

    def __init__(self, guard: AddressGuard, resolver: GuardedResolver, **options: object) -> None:
        super().__init__(resolver=resolver, **options)  # type: ignore[arg-type]
        self._guard = guard

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109 - the base class has this parameter
    ) -> Connection:
        """Connect as the base class does. Raises the guard's refusal."""
        host, port = req.url.raw_host or "", req.url.port or 0
        if is_ip_literal(host) and not self._allows_literal(host, port):
            raise self._guard.refusal("the domain is an internal address")
        connection = await super().connect(req, traces, timeout)
        peer = connection.transport.get_extra_info("peername") if connection.transport else None
        if not peer or not self._guard.allows(host, port, peer[0]):
            connection.close()
            raise self._guard.refusal("the domain leads to an internal address")
        return connection

    def _allows_literal(self, host: str, port: int) -> bool:
        try:
            return self._guard.allows(host, port, host)
        except ValueError:
            # A form such as "127.1", which the system would nevertheless connect to.
            return False
