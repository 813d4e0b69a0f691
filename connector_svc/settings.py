"""Settings of the connector, from environment variables that begin with CONNECTOR_."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from catalogsync_common.settings import Duration, ListenAddress, NetworkList, ServiceSettings
from pydantic import AfterValidator, Field, PositiveInt, SecretStr, create_model
from pydantic_settings import SettingsConfigDict
from yarl import URL

from connector_svc.http.config import Endpoints, parse_base_url
from connector_svc.platforms.base import PlatformDefinition


def _check_positive(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("must be longer than zero")
    return value


def _check_file_exists(path: Path | None) -> Path | None:
    if path is not None and not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path


def _check_overrides(overrides: dict[str, str]) -> dict[str, str]:
    Endpoints.of(overrides)
    return overrides


def _check_base_url(url: str | None) -> str | None:
    if url is not None:
        parse_base_url(url)
    return url


OptionalFile = Annotated[Path | None, AfterValidator(_check_file_exists)]
PositiveDuration = Annotated[Duration, AfterValidator(_check_positive)]


class ConnectorSettings(ServiceSettings):
    """Settings of the connector. Load `settings_with_options`, which adds the options of platforms."""

    model_config = SettingsConfigDict(env_prefix="CONNECTOR_", env_ignore_empty=True)

    listen_address: ListenAddress = ListenAddress("127.0.0.1:50052")
    credentials_file: OptionalFile = None
    """TOML; see `connector_svc.credentials.file`."""
    token_service_url: Annotated[str | None, AfterValidator(_check_base_url)] = None
    """Asked for shops that are not in the file."""
    token_service_secret: SecretStr | None = None
    """Bearer token for the Token Service."""
    ca_file: OptionalFile = None
    """PEM; trusted in addition to the system's roots, for stores with a private CA."""
    endpoint_overrides: Annotated[dict[str, str], AfterValidator(_check_overrides)] = Field(default_factory=dict)
    """JSON: shop domain to base URL. For development and tests."""
    http_timeout: PositiveDuration = timedelta(seconds=60)
    """Of one attempt of a request to a shop."""
    http_connect_timeout: PositiveDuration = timedelta(seconds=10)
    http_attempts: PositiveInt = 4
    """Of one request, the first included."""
    http_max_total_retry_delay: Duration = timedelta(seconds=60)
    """Limit of all pauses between the attempts of one request together."""
    http_connections_per_host: PositiveInt = 8
    """Of one shop; shops that share one API host do not share them."""
    http_connections: PositiveInt = 100
    """Of all shops together, downloads not counted."""
    http_downloads: PositiveInt = 16
    """Concurrent downloads of files, such as results of bulk jobs."""
    send_traceparent: bool = False
    """Whether platforms get the trace context (the header `traceparent`) with each request: a shop is a foreign
    party, and learns from it which of its requests belong together."""
    denied_networks: NetworkList = ()
    """The operator's own networks that have public addresses: no shop is called there."""

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints.of(self.endpoint_overrides)

    @property
    def token_service(self) -> URL | None:
        return parse_base_url(self.token_service_url) if self.token_service_url else None

    def options_of(self, platform: PlatformDefinition) -> Mapping[str, Enum]:
        """Return the operator's choices for the options that `platform` declares, by name of the option."""
        return {
            option.name: getattr(self, _field_name(platform, option.name), option.default)
            for option in platform.options
        }


def settings_with_options(platforms: Iterable[PlatformDefinition]) -> type[ConnectorSettings]:
    """Return ConnectorSettings with one field more for each option of each platform.

    The option "strategy" of the platform "shopify" becomes the field `shopify_strategy`, which is read from
    CONNECTOR_SHOPIFY_STRATEGY and must be a value of the option's enum.
    """
    fields: dict[str, Any] = {
        _field_name(platform, option.name): (type(option.default), option.default)
        for platform in platforms
        for option in platform.options
    }
    return create_model(ConnectorSettings.__name__, __base__=ConnectorSettings, **fields)


def _field_name(platform: PlatformDefinition, option: str) -> str:
    return f"{platform.name}_{option}"
