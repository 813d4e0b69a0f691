"""Whether an address leads only to this machine, so that nobody else can read what is sent to it."""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback_host(host: str) -> bool:
    """Return whether a host name or address, without brackets, is of this machine's loopback interface."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_loopback_target(target: str) -> bool:
    """Return whether a gRPC target leads only to this machine.

    A name other than "localhost" counts as another machine, and so does a scheme that is not known.
    """
    scheme, has_scheme, rest = target.partition(":")
    if has_scheme and scheme.lower() in ("unix", "unix-abstract"):
        return True
    if has_scheme and scheme.lower() in ("ipv4", "ipv6", "dns"):
        addresses = rest.rpartition("/")[2] if scheme.lower() == "dns" else rest
        return all(is_loopback_host(_host_of(address)) for address in addresses.split(","))
    return is_loopback_host(_host_of(target))


def _host_of(address: str) -> str:
    """Return the host of "host:port", "[::1]:port", "::1" or "host"."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address if address.count(":") > 1 else address.partition(":")[0]
