"""Settings from the environment, and errors about them that name the variable.

Where a server listens."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from difflib import get_close_matches
from ipaddress import ip_address
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
from pydantic_core import CoreSchema, core_schema
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from catalogsync_common.duration import parse_duration

__all__ = ["Duration", "ListenAddress", "ServiceSettings", "SettingsError", "load_settings", "unknown_settings"]

S = TypeVar("S", bound="ServiceSettings")

_SIMILARITY: Final = 0.75
"""Of two names, from 0 to 1, above which one is taken for a misspelling of the other."""
_STOP_RESERVE: Final = timedelta(seconds=10)


class SettingsError(Exception):
    """The settings are wrong; one line for each wrong variable, without secrets."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
"""A setting that is a length of time."""


class ServiceSettings(BaseSettings):
    """What every service of ours can be told. A subclass sets `env_prefix` and adds its own.

    Read from the environment, then from a file ".env" in the working directory. Secrets are SecretStr. Load
    them with `load_settings`.
    """

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, populate_by_name=True
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", validation_alias=AliasChoices("LOG_FORMAT", "log_format")
    )
    """auto: text on a terminal, else JSON. LOG_FORMAT, without prefix."""
    allow_insecure: bool = False
    """Lets other machines call, without authentication and encryption."""
    reflection: bool = True
    metrics_address: ListenAddress | None = None
    """Where /metrics is served, over plain HTTP and to everybody who reaches it; None: nowhere."""
    settle_delay: Duration = timedelta()
    """How long to answer on after NOT_SERVING, before the drain."""
    stop_grace: Duration = timedelta(seconds=10)
    """How long running calls may go on after the drain."""

    @property
    def stop_timeout(self) -> timedelta:
        """How long a stop may take in all, before the process ends whatever it waits for."""
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
        return init_settings, env_settings, dotenv_settings


def load_settings(kind: type[S]) -> S:
    """The settings of this process. SettingsError: some are wrong or missing."""
    try:
        return kind()
    except ValidationError as error:
        # The cause holds the values; nobody needs it in a traceback.
        raise SettingsError(_lines_of(kind, error)) from None
    except pydantic_settings.SettingsError as error:
        name = re.search(r'field "(\w+)"', str(error))
        variable = _variable(kind, name[1]) if name else "settings"
        raise SettingsError((f"{variable}: expected JSON",)) from None


def unknown_settings(kind: type[S]) -> tuple[str, ...]:
    """Return a sentence for each variable that has the service's prefix and is none of its settings.

    Such a variable has no effect: it is misspelt, belongs to a newer release, or was set by the platform that runs
    the service. Values are not looked at.
    """
    prefix = kind.model_config.get("env_prefix", "").upper()
    known = set(_variables(kind))
    found = {name for name in map(str.upper, _environment(kind)) if name.startswith(prefix)}
    return tuple(_sentence(name, prefix, known) for name in sorted(found - known))


def _environment(kind: type[S]) -> Mapping[str, object]:
    file = kind.model_config.get("env_file")
    return {**dotenv_values(str(file) if file else None, encoding="utf-8"), **os.environ}


def _variables(kind: type[S]) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        aliases = field.validation_alias
        choices: Iterable[object] = aliases.choices if isinstance(aliases, AliasChoices) else ()
        yield from (str(choice).upper() for choice in choices)
        yield _variable(kind, name)


def _sentence(name: str, prefix: str, known: set[str]) -> str:
    names = [each.removeprefix(prefix) for each in known if each.startswith(prefix)]
    similar = get_close_matches(name.removeprefix(prefix), names, n=1, cutoff=_SIMILARITY)
    meant = f"; did you mean {prefix}{similar[0]}?" if similar else ""
    return f"{name} is not a setting of this service and has no effect{meant}"


def _lines_of(kind: type[ServiceSettings], error: ValidationError) -> tuple[str, ...]:
    return tuple(
        _line_of(kind, detail["loc"], detail["type"], detail["msg"])
        for detail in error.errors(include_url=False, include_context=False, include_input=False)
    )


def _line_of(kind: type[ServiceSettings], loc: tuple[int | str, ...], error_type: str, message: str) -> str:
    if not loc:
        return message.removeprefix("Value error, ")
    name = str(loc[0])
    variable = _variable(kind, name) + "".join(f"[{part}]" for part in loc[1:])
    if error_type == "missing":
        return f"{variable}: is missing"
    if _is_secret(kind, name):
        # A validator may have quoted the value.
        return f"{variable}: is not valid"
    return f"{variable}: {message.removeprefix('Value error, ')}"


def _variable(kind: type[ServiceSettings], name: str) -> str:
    prefix = kind.model_config.get("env_prefix", "") if name in kind.model_fields else ""
    return f"{prefix}{name}".upper()


def _is_secret(kind: type[ServiceSettings], name: str) -> bool:
    field = kind.model_fields.get(name)
    return field is not None and any(secret.__name__ in str(field.annotation) for secret in _SECRETS)


_SECRETS: Final = (SecretStr, SecretBytes)


_ADDRESS: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")


class ListenAddress(str):
    """ "host:port", with an IPv6 address in brackets: "127.0.0.1:50051", "[::1]:50051". Port 0: any free one.

    ValueError: it is not of this form.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        parts = _parts(text)
        if parts is None:
            raise ValueError('expected host:port, such as "127.0.0.1:50051" or "[::1]:50051"')
        return super().__new__(cls, text)

    @property
    def host(self) -> str:
        """Without brackets."""
        return self._split()[0]

    @property
    def port(self) -> int:
        return self._split()[1]

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than "localhost" counts as reachable."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    def _split(self) -> tuple[str, int]:
        parts = _parts(self)
        assert parts is not None
        return parts

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema(strip_whitespace=True))


def _parts(text: str) -> tuple[str, int] | None:
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        return None
    if match["v6"] is not None:
        try:
            ip_address(match["v6"])
        except ValueError:
            return None
    return match["v6"] or match["host"], int(match["port"])
