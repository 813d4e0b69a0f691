"""Records every connection that this process attempts, and lets none leave the machine."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any


@dataclass(slots=True)
class ConnectLog:
    """What was attempted while it recorded, whether it worked or not."""

    addresses: list[str] = field(default_factory=list)
    """IP addresses of attempted connections, without those of the test's own servers."""
    lookups: list[str] = field(default_factory=list)
    """Names that the system's getaddrinfo was asked for."""
    ignored_ports: set[int] = field(default_factory=set)
    """Of the test's own servers."""
    is_recording: bool = False


class ConnectAudit:
    """Records connections with an audit hook of Python, which no socket of this process can pass by.

    The hook cannot be removed, so that a process needs one of these only. Connections of gRPC and of c-ares are
    made in C and are not seen; neither connects to shops.
    """

    def __init__(self) -> None:
        self._log = ConnectLog()
        sys.addaudithook(self._on_event)

    @contextmanager
    def recording(self, *ignored_ports: int) -> Iterator[ConnectLog]:
        """Record while the block runs. Connections to other machines fail with ENETUNREACH."""
        self._log = ConnectLog(ignored_ports=set(ignored_ports), is_recording=True)
        try:
            yield self._log
        finally:
            self._log.is_recording = False

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._log.is_recording:
            return
        if event == "socket.getaddrinfo":
            self._log.lookups.append(str(arguments[0]))
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            host, port = arguments[1][:2]
            if port not in self._log.ignored_ports:
                self._log.addresses.append(host)
            if not is_this_machine(host):
                raise OSError(errno.ENETUNREACH, "the test lets no connection leave this machine")


def is_this_machine(host: str) -> bool:
    """Return whether an address leads to a listener of this machine."""
    address = ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback or (mapped or address).is_unspecified
