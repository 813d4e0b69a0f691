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
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
        "192.88.99.0/24",  # relays of 6to4
    )
)
_IPV6_INTERNET: Final = ip_network("2000::/3")
"""All that was ever given out; the rest has no business in a shop's DNS."""


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
    if not ip.is_global or ip.is_multicast or (isinstance(ip, IPv6Address) and ip not in _IPV6_INTERNET):
        return False
    return not any(ip in network for network in (*_INSIDE_THOUGH_GLOBAL, *denied))
