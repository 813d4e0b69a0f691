"""What an operator may say about outbound HTTP."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import timedelta

from connector_svc.http.addresses import Network
from connector_svc.http.circuit import CircuitPolicy
from connector_svc.http.endpoints import Endpoints
from connector_svc.http.hosts import RetryBudget
from connector_svc.http.retry import RetryPolicy
from connector_svc.http.trust import trusted_roots
from connector_svc.http.unpacking import BodyLimits


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpConfig:
    """Limits and addresses of the client."""

    endpoints: Endpoints = field(default_factory=Endpoints)
    tls: ssl.SSLContext = field(default_factory=trusted_roots)
    """Whom we trust."""
    total_timeout: timedelta = timedelta(seconds=60)
    """Of one attempt, from connecting to the last byte."""
    connect_timeout: timedelta = timedelta(seconds=10)
    body: BodyLimits = field(default_factory=BodyLimits)
    connections_per_host: int = 8
    """Of one shop, wherever it is called; shops that share a host do not share them."""
    connections: int = 100
    """Of all shops together, downloads not counted."""
    downloads_per_host: int = 2
    downloads: int = 16
    """Files that are downloaded at once, for all shops together."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    retry_budget: RetryBudget = field(default_factory=RetryBudget)
    circuit: CircuitPolicy = field(default_factory=CircuitPolicy)
    denied_networks: tuple[Network, ...] = ()
    """Ours, although their addresses are public."""
