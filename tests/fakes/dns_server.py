"""A DNS server on loopback, whose answers a test chooses; aiodns is pointed to it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from typing import Final, cast

from aiohttp.abc import AbstractResolver
from aiohttp.resolver import AsyncResolver

A: Final = 1
CNAME: Final = 5
AAAA: Final = 28
_TTL_SECONDS: Final = 0

Answer = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a name for a query of type A or AAAA; those of the other family are left out.

"name." among them is an alias, which is followed first.
"""


@dataclass(slots=True)
class DnsServer:
    """Answers queries for A and AAAA records; records the names that were asked for."""

    answer: Answer
    port: int = 0
    queries: list[str] = field(default_factory=list)

    def open_resolver(self) -> AbstractResolver:
        """Return a resolver like that of the connector, except that it asks this server."""
        return AsyncResolver(
            nameservers=["127.0.0.1"], udp_port=self.port, tcp_port=self.port, timeout=5.0, tries=2
        )

    def reply_to(self, query: bytes) -> bytes:
        """Return the reply to one packet."""
        name, kind, end = _question(query)
        self.queries.append(name)
        records: list[bytes] = []
        owner = name
        for value in self.answer(name, kind):
            if value.endswith("."):
                alias = value.removesuffix(".")
                records.append(_record(owner, CNAME, _encode_name(alias)))
                owner = alias
            else:
                address = ip_address(value)
                if kind == (A if isinstance(address, IPv4Address) else AAAA):
                    records.append(_record(owner, kind, address.packed))
        header = query[:2] + struct.pack("!HHHHH", 0x8580, 1, len(records), 0, 0)
        return header + query[12:end] + b"".join(records)


class _Protocol(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        self._transport.sendto(self._server.reply_to(data), addr)


@asynccontextmanager
async def serving_dns(answer: Answer) -> AsyncIterator[DnsServer]:
    """Run a DNS server on a free port of 127.0.0.1."""
    server = DnsServer(answer)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Protocol(server), local_addr=("127.0.0.1", 0))
    server.port = transport.get_extra_info("sockname")[1]
    try:
        yield server
    finally:
        transport.close()


def _question(query: bytes) -> tuple[str, int, int]:
    """Return the name, the type and the end of the question section."""
    labels: list[str] = []
    at = 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii"))
        at += 1 + query[at]
    (kind,) = struct.unpack_from("!H", query, at + 1)
    return ".".join(labels).lower(), kind, at + 5


def _encode_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split(".")) + b"\0"


def _record(name: str, kind: int, data: bytes) -> bytes:
    return _encode_name(name) + struct.pack("!HHIH", kind, 1, _TTL_SECONDS, len(data)) + data
