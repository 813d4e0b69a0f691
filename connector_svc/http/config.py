"""Configuration of outbound HTTP: limits, trusted TLS roots, and the endpoints of shops."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

from catalogsync_common.ssrf_guard import Network, is_ip_literal
from yarl import URL

from connector_svc.http.circuit_breaker import CircuitBreakerPolicy
from connector_svc.http.failures import AddressForbidden
from connector_svc.http.response_body import BodyLimits
from connector_svc.http.retry import RetryBudget, RetryPolicy


class CaFileInvalid(ValueError):
    """The file holds no certificates that can be read."""


def create_tls_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a context that trusts the system's roots and those of a PEM file.

    There is deliberately no way to trust every certificate.

    Raises:
        CaFileInvalid: The file cannot be read or holds no certificates.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (ssl.SSLError, OSError):
            raise CaFileInvalid(f"{ca_file} holds no PEM certificates that can be read") from None
    return context


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Base URLs of shops: the shop's own domain over HTTPS, or what the operator configured instead.

    Overrides may use http, a port and a path prefix, and lead into internal networks.
    """

    overrides: Mapping[str, URL] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, overrides: Mapping[str, str]) -> Endpoints:
        """Parse the operator's overrides, shop domain to base URL. Raises ValueError that names the wrong one."""
        checked = {_canonical(domain): _parse_override(domain, text) for domain, text in overrides.items()}
        return cls(MappingProxyType(checked))

    def base_url(self, domain: str, api_host: str = "") -> URL:
        """Return where `domain` is called: at `api_host` if its platform has one for all shops, else at itself.

        Raises:
            AddressForbidden: The domain is not a host name.
        """
        overridden = self.overrides.get(domain)
        if overridden is not None:
            return overridden
        if is_ip_literal(domain):
            raise AddressForbidden("the domain is an IP address")
        url = _https_url(domain)
        if url is None:
            raise AddressForbidden("the domain is not a host name")
        return URL.build(scheme="https", host=api_host) if api_host else url

    def is_override(self, host: str, port: int) -> bool:
        """Return whether the operator configured this host and port, so that it may be internal."""
        return any((url.raw_host, url.port) == (host, port) for url in self.overrides.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpConfig:
    """Limits and addresses of the client."""

    endpoints: Endpoints = field(default_factory=Endpoints)
    tls: ssl.SSLContext = field(default_factory=create_tls_context)
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
    """Concurrent downloads of all shops together."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    retry_budget: RetryBudget = field(default_factory=RetryBudget)
    circuit: CircuitBreakerPolicy = field(default_factory=CircuitBreakerPolicy)
    denied_networks: tuple[Network, ...] = ()
    """The operator's own networks that have public addresses."""


def parse_base_url(text: str) -> URL:
    """Parse a base URL that an operator configured. Raises ValueError that says what it must be."""
    try:
        url = URL(text.strip())
    except ValueError:
        url = URL()
    violation = _violation(url)
    if violation:
        raise ValueError(violation)
    return url.with_path(url.path.rstrip("/"))


def _violation(url: URL) -> str:
    """Return what is wrong with a base URL, or nothing. Never quotes it: it might hold a password."""
    if url.scheme not in ("http", "https") or not url.host:
        return 'must look like "https://host:port/prefix"'
    if url.user or url.password:
        return "must not hold a user or password"
    if url.query_string or url.fragment:
        return "must have no query and no fragment"
    return ""


def _https_url(domain: str) -> URL | None:
    try:
        url = URL.build(scheme="https", host=domain)
    except ValueError:
        return None
    return url if url.raw_host == domain and url.port == 443 else None


def _canonical(domain: str) -> str:
    return domain.strip().lower().removesuffix(".")


def _parse_override(domain: str, text: str) -> URL:
    try:
        return parse_base_url(text)
    except ValueError as error:
        raise ValueError(f"the base URL of {domain!r} {error}") from None
