"""Service settings from the environment: their types, loading, and errors that name the variable."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

import pydantic_settings
from dotenv import dotenv_values
from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    SecretBytes,
    SecretStr,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from catalogsync_common.duration import parse_duration
from catalogsync_common.loopback import is_loopback_host
from catalogsync_common.setting_names import unknown_names

__all__ = [
    "Duration",
    "ListenAddress",
    "NetworkList",
    "ProcessSettings",
    "ServiceSettings",
    "SettingsError",
    "load_settings",
    "unknown_settings",
    "variable_name",
    "variables_of",
]

S = TypeVar("S", bound="ProcessSettings")

_SECRET_TYPES: Final = (SecretStr, SecretBytes)
_FILE_SUFFIX: Final = "_FILE"
_STOP_RESERVE: Final = timedelta(seconds=10)
"""Time for a stop in addition to the settle delay and the grace period."""


class SettingsError(Exception):
    """Invalid settings; one line per invalid variable, without secrets."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


_ADDRESS: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")


class ListenAddress(str):
    """The address of a server: "127.0.0.1:50051", or "[::1]:50051" for IPv6. Port 0 means any free port.

    Raises:
        ValueError: the text has another form.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if _split_address(text) is None:
            raise ValueError('expected host:port, such as "127.0.0.1:50051" or "[::1]:50051"')
        return super().__new__(cls, text)

    @property
    def host(self) -> str:
        """The host, without brackets."""
        return self._split()[0]

    @property
    def port(self) -> int:
        return self._split()[1]

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than "localhost" counts as reachable by others."""
        return is_loopback_host(self.host)

    def _split(self) -> tuple[str, int]:
        parts = _split_address(self)
        assert parts is not None
        return parts

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema(strip_whitespace=True))


def _split_address(text: str) -> tuple[str, int] | None:
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        return None
    if match["v6"] is not None:
        try:
            ip_address(match["v6"])
        except ValueError:
            return None
    return match["v6"] or match["host"], int(match["port"])


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
"""The type of a setting that is a duration, such as "15s"."""


_DNS_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[\x21-\x2b\x2d-\x7e]+")


def _parse_names(value: object) -> object:
    """Parse "catalog.internal, spiffe://acme/catalog". Raises ValueError that names the wrong one."""
    if not isinstance(value, str):
        return value
    names = tuple(name for text in value.split(",") if (name := text.strip()))
    for name in names:
        if not (_DNS_NAME.fullmatch(name) or _URI.fullmatch(name)):
            raise ValueError(f"expected DNS names and URIs, separated by commas, not {name!r}")
    return names


NameList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_names)]
"""The type of a setting with the names of certificates, separated by commas."""


def _parse_networks(value: object) -> object:
    """Parse "10.0.0.0/8, 2001:db8::/32". Raises ValueError that names the wrong one."""
    if not isinstance(value, str):
        return value
    return tuple(_parse_network(text.strip()) for text in value.split(",") if text.strip())


def _parse_network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError(f'expected networks such as "203.0.113.0/24", not {text!r}') from None


NetworkList = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_parse_networks)]
"""The type of a setting with IP networks, separated by commas."""


_COLLECTOR: Final = re.compile(r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")


def _check_collector(value: object) -> object:
    """Check the address of a collector: without a path, and without credentials."""
    if isinstance(value, str) and value and not _COLLECTOR.fullmatch(value.rstrip("/")):
        raise ValueError('expected "http://host:port" or "https://host:port"')
    return value


class ProcessSettings(BaseSettings):
    """The settings that every long-running process of ours has. A subclass sets `env_prefix` and adds its own.

    They come from the environment, or else from the file ".env" in the working directory. Secrets are SecretStr.
    Load them with `load_settings`.
    """

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, populate_by_name=True
    )

    listen_address: ListenAddress = ListenAddress("127.0.0.1:0")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", validation_alias=AliasChoices("LOG_FORMAT", "log_format")
    )
    """auto: text on a terminal, else JSON. The variable is LOG_FORMAT, without prefix."""
    environment: Literal["development", "production"] = "development"
    """production: the process does not start with an unsafe combination of settings; see `production`."""
    allow_insecure: bool = False
    """Whether other machines may call, without authentication or encryption."""
    metrics_address: ListenAddress | None = None
    """Where /metrics is served, over plain HTTP and to everyone who can reach it; None: nowhere."""
    trace_endpoint: Annotated[str, BeforeValidator(_check_collector)] = ""
    """The OTLP collector of spans: "http://127.0.0.1:4317" (gRPC), with TLS "https://...". Empty: no spans."""
    trace_sample_ratio: float = Field(default=1.0, ge=0, le=1)
    """Share of the traces that begin here and are recorded. In a caller's trace the caller decides."""
    settle_delay: Duration = timedelta()
    """How long calls are still answered after the process is no longer ready, before the drain."""
    stop_grace: Duration = timedelta(seconds=10)
    """How long running calls may continue after the drain has started."""

    @property
    def stop_timeout(self) -> timedelta:
        """How long a stop may take in total before the process exits, whatever it waits for."""
        return self.settle_delay + self.stop_grace + _STOP_RESERVE

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, dotenv_settings, _SecretFiles(settings_cls)


class ServiceSettings(ProcessSettings):
    """The settings that all our gRPC services have."""

    service_secrets: SecretStr = SecretStr("")
    """"name:secret,name:secret": the services that may call. Several secrets of a name, for rotation."""
    tls_cert_file: Path | None = None
    """PEM: the server's certificate chain; it turns TLS on, together with `tls_key_file`."""
    tls_key_file: Path | None = None
    tls_client_ca_file: Path | None = None
    """PEM: a client must present a certificate of one of these CAs (mTLS)."""
    tls_allowed_names: NameList = ()
    """DNS names and URIs of which a client's certificate must have one; empty: any certificate of the CAs."""
    health_address: ListenAddress | None = None
    """A plaintext port that serves only grpc.health.v1, for probes; None: health is on the main port alone."""
    reflection: bool = True
    max_concurrent_calls: int = Field(default=1_000, ge=1, le=100_000)
    """Calls in progress, without health checks; of catalog_svc besides its watchers."""
    service_calls_per_second: float = Field(default=5_000, ge=0)
    """Of each service or operator and group of methods; 0: no limit."""
    service_calls_burst: int = Field(default=10_000, ge=1)
    auth_failures_per_second: float = Field(default=10, ge=0)
    """Calls with a wrong token from each address; 0: no limit."""
    auth_failures_burst: int = Field(default=100, ge=1)

    @property
    def authentication_enabled(self) -> bool:
        """Whether callers must authenticate with a token or a secret."""
        return bool(self.service_secrets.get_secret_value())


class _SecretFiles(PydanticBaseSettingsSource):
    """Reads a secret from the file that its variable with the suffix _FILE names: orchestrators mount files."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        path = _environment(self.settings_cls).get(self._variable(field_name))
        if not path:
            return None, field_name, False
        try:
            return Path(str(path)).read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError):
            raise SettingsError((f"{self._variable(field_name)}: {path} cannot be read",)) from None

    def __call__(self) -> dict[str, Any]:
        secrets = [name for name in self.settings_cls.model_fields if _is_secret(self.settings_cls, name)]
        values = {name: self.get_field_value(self.settings_cls.model_fields[name], name)[0] for name in secrets}
        return {name: value for name, value in values.items() if value is not None}

    def _variable(self, field_name: str) -> str:
        return f"{variable_name(self.settings_cls, field_name)}{_FILE_SUFFIX}"


def load_settings(settings_type: type[S]) -> S:
    """Return the settings of this process.

    Raises:
        SettingsError: settings are invalid or missing.
    """
    try:
        return settings_type()
    except ValidationError as error:
        # The cause contains the values, which must not be in a traceback.
        raise SettingsError(_lines_of(settings_type, error)) from None
    except pydantic_settings.SettingsError as error:
        name = re.search(r'field "(\w+)"', str(error))
        variable = variable_name(settings_type, name[1]) if name else "settings"
        raise SettingsError((f"{variable}: expected JSON",)) from None


def unknown_settings(settings_type: type[S]) -> tuple[str, ...]:
    """Return a sentence for each variable that has the service's prefix but is not one of its settings.

    Such a variable has no effect: it is misspelt, belongs to a newer release, or was set by the platform that runs
    the service. Values are not read.
    """
    prefix = settings_type.model_config.get("env_prefix", "").upper()
    return unknown_names(set(variables_of(settings_type)), set(_known_variables(settings_type)), prefix=prefix)


def variables_of(settings_type: type[ProcessSettings]) -> tuple[str, ...]:
    """Return the names of the variables in the environment and in the file ".env" that have the service's prefix.

    In upper case; among them are those that are not settings.
    """
    prefix = settings_type.model_config.get("env_prefix", "").upper()
    return tuple(sorted({name for name in map(str.upper, _environment(settings_type)) if name.startswith(prefix)}))


def _environment(settings_type: type[BaseSettings]) -> Mapping[str, object]:
    file = settings_type.model_config.get("env_file")
    return {**dotenv_values(str(file) if file else None, encoding="utf-8"), **os.environ}


def _known_variables(settings_type: type[S]) -> Iterator[str]:
    for name, field in settings_type.model_fields.items():
        aliases = field.validation_alias
        choices: Iterable[object] = aliases.choices if isinstance(aliases, AliasChoices) else ()
        yield from (str(choice).upper() for choice in choices)
        yield variable_name(settings_type, name)
        if _is_secret(settings_type, name):
            yield f"{variable_name(settings_type, name)}{_FILE_SUFFIX}"


def _lines_of(settings_type: type[ProcessSettings], error: ValidationError) -> tuple[str, ...]:
    return tuple(
        _line_of(settings_type, detail["loc"], detail["type"], detail["msg"])
        for detail in error.errors(include_url=False, include_context=False, include_input=False)
    )


def _line_of(
    settings_type: type[ProcessSettings], loc: tuple[int | str, ...], error_type: str, message: str
) -> str:
    if not loc:
        return message.removeprefix("Value error, ")
    name = str(loc[0])
    variable = variable_name(settings_type, name) + "".join(f"[{part}]" for part in loc[1:])
    if error_type == "missing":
        return f"{variable}: is missing"
    if _is_secret(settings_type, name):
        # The message of a validator may quote the value.
        return f"{variable}: is not valid"
    return f"{variable}: {message.removeprefix('Value error, ')}"


def variable_name(settings_type: type[BaseSettings], name: str) -> str:
    """Return the environment variable of a field: "CATALOG_LISTEN_ADDRESS"."""
    prefix = settings_type.model_config.get("env_prefix", "") if name in settings_type.model_fields else ""
    return f"{prefix}{name}".upper()


def _is_secret(settings_type: type[BaseSettings], name: str) -> bool:
    field = settings_type.model_fields.get(name)
    return field is not None and any(secret.__name__ in str(field.annotation) for secret in _SECRET_TYPES)
