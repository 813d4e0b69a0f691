"""What an operator may say about outbound HTTP."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import timedelta

from connector_svc.http.addresses import Network
from connector_svc.http.endpoints import Endpoints
from connector_svc.http.retry import RetryPolicy
from connector_svc.http.trust import trusted_roots


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpConfig:
    """Limits and addresses of the client."""

    endpoints: Endpoints = field(default_factory=Endpoints)
    tls: ssl.SSLContext = field(default_factory=trusted_roots)
    """Whom we trust."""
    total_timeout: timedelta = timedelta(seconds=60)
    """Of one attempt, from the wait for a connection to the last byte."""
    connect_timeout: timedelta = timedelta(seconds=10)
    max_body_bytes: int = 20 * 1024 * 1024
    """Of an answer, decompressed."""
    connections_per_host: int = 8
    connections: int = 100
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    denied_networks: tuple[Network, ...] = ()
    """Ours, although their addresses are public."""
