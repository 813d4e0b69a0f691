"""What catalog_svc refuses to start with in production, in addition to what every service refuses."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, urlsplit

from catalogsync_common.loopback import is_loopback_host, is_loopback_target
from catalogsync_common.production import Rule

from catalog_svc.settings import CatalogSettings

_ENCRYPTED_SSL_MODES: Final = ("require", "verify-ca", "verify-full")


def _connector(settings: CatalogSettings) -> str | None:
    if settings.connector_tls_ca_file is not None or is_loopback_target(settings.connector_address):
        return None
    return (
        f"CATALOG_CONNECTOR_ADDRESS: {settings.connector_address} is on another machine, but "
        "CATALOG_CONNECTOR_TLS_CA_FILE is not set."
    )


def _database(settings: CatalogSettings) -> str | None:
    url = settings.database_url.get_secret_value()
    if not url or _is_local_database(url) or _ssl_mode(url) in _ENCRYPTED_SSL_MODES:
        return None
    return (
        "CATALOG_DATABASE_URL: the database is on another machine; add sslmode=verify-full "
        "(or at least sslmode=require) to the URL."
    )


def _is_local_database(url: str) -> bool:
    hosts = _hosts(url)
    # Without a host, and with a path, the connection is a Unix socket.
    return all(not host or host.startswith("/") or is_loopback_host(host) for host in hosts)


def _hosts(url: str) -> list[str]:
    parts = urlsplit(url)
    authority = parts.netloc.rpartition("@")[2]
    listed = [value for name, value in parse_qsl(parts.query) if name == "host"]
    return [_without_port(host) for text in (authority, *listed) for host in text.split(",")]


def _without_port(address: str) -> str:
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0]


def _ssl_mode(url: str) -> str:
    modes = [value for name, value in parse_qsl(urlsplit(url).query) if name == "sslmode"]
    return modes[-1] if modes else ""


PRODUCTION_RULES: Final[tuple[Rule[CatalogSettings], ...]] = (_connector, _database)
