"""What the connector can be told."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated

from catalogsync_common.settings import Duration, ListenAddress, ServiceSettings
from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, SecretStr
from pydantic_settings import NoDecode, SettingsConfigDict
from yarl import URL

from connector_svc.http.config import Endpoints, service_url
from connector_svc.platforms.shopify.wanted import Wanted


def _positive(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("must be longer than nothing")
    return value


def _readable(path: Path | None) -> Path | None:
    if path is not None and not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path


def _check_overrides(overrides: dict[str, str]) -> dict[str, str]:
    Endpoints.of(overrides)
    return overrides


def _check_service(url: str | None) -> str | None:
    if url is not None:
        service_url(url)
    return url


def _networks(value: object) -> object:
    """From "10.0.0.0/8, 2001:db8::/32". Raises ValueError that names the wrong one."""
    if not isinstance(value, str):
        return value
    return tuple(_network(text.strip()) for text in value.split(",") if text.strip())


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError(f'expected networks such as "203.0.113.0/24", not {text!r}') from None


OptionalFile = Annotated[Path | None, AfterValidator(_readable)]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]


class ConnectorSettings(ServiceSettings):
    """Read from variables that begin with CONNECTOR_; an empty one is not set."""

    model_config = SettingsConfigDict(env_prefix="CONNECTOR_", env_ignore_empty=True)

    listen_address: ListenAddress = ListenAddress("127.0.0.1:50052")
    credentials_file: OptionalFile = None
    """TOML; see `connector_svc.credentials.file`."""
    token_service_url: Annotated[str | None, AfterValidator(_check_service)] = None
    """Asked for shops that are not in the file."""
    token_service_secret: SecretStr | None = None
    """The bearer token for it."""
    ca_file: OptionalFile = None
    """PEM; trusted beside the system's roots, for stores with a private CA."""
    endpoint_overrides: Annotated[dict[str, str], AfterValidator(_check_overrides)] = Field(default_factory=dict)
    """JSON: shop domain to base URL. For development and tests."""
    http_timeout: PositiveDuration = timedelta(seconds=60)
    """Of one attempt of a request to a shop."""
    http_connect_timeout: PositiveDuration = timedelta(seconds=10)
    http_attempts: PositiveInt = 4
    http_patience: Duration = timedelta(seconds=60)
    """What the waits between the attempts of one request may add up to."""
    http_connections_per_host: PositiveInt = 8
    """Of one shop; shops that share a host, such as api.bigcommerce.com, do not share them."""
    http_connections: PositiveInt = 100
    """Of all shops together, downloads not counted."""
    http_downloads: PositiveInt = 16
    """Results of bulk jobs that are downloaded at once."""
    denied_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_networks)] = ()
    """Ours, although their addresses are public: no shop is called there."""
    shopify_strategy: Wanted = Wanted.AUTO
    """How Shopify shops are read."""

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints.of(self.endpoint_overrides)

    @property
    def token_service(self) -> URL | None:
        return service_url(self.token_service_url) if self.token_service_url else None
