"""Which IP addresses we call."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

# `is_global` is not enough: Python calls all of these global although they lead inside, or embed an IPv4
# address that does.
_INSIDE_THOUGH_GLOBAL: Final[tuple[Network, ...]] = tuple(
    ip_network(text)
    for text in (
        "100.64.0.0/10",  # shared by carriers
        "192.0.0.0/24",
        "::/96",  # IPv4-compatible
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "fec0::/10",  # site-local
    )
)


def is_ip_literal(host: str) -> bool:
    """Whether `host` is an address instead of a name, in any form that the system would take for one."""
    if ":" in host or host.startswith("["):
        return True
    # getaddrinfo also takes "2130706433", "0x7f.1" and "127.1": whatever ends in a number is an address.
    last = host.rstrip(".").rpartition(".")[2]
    return last.isdigit() or last.startswith("0x")


def is_public(address: str, denied: Iterable[Network] = ()) -> bool:
    """Whether `address` is one of the open internet and in none of the `denied` networks."""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    if not ip.is_global or ip.is_multicast:
        return False
    return not any(ip in network for network in (*_INSIDE_THOUGH_GLOBAL, *denied))
