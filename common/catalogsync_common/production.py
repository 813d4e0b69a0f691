"""What a service refuses to start with when its environment is "production".

The table below has the rules that hold for every service; a service adds its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias, TypeVar
from urllib.parse import urlsplit

from catalogsync_common.loopback import is_loopback_host
from catalogsync_common.settings import ServiceSettings, SettingsError, variable_name

S = TypeVar("S", bound=ServiceSettings)

Rule: TypeAlias = Callable[[S], str | None]
"""Returns a sentence that begins with the variable, if the settings break the rule. It must not quote a secret."""


def production_violations(settings: S, rules: Sequence[Rule[S]] = ()) -> tuple[str, ...]:
    """Return a sentence for each rule that the settings break, whatever their environment.

    Args:
        settings: the settings of a service.
        rules: the rules of this service, in addition to those of every service.
    """
    checked: Iterable[Rule[S]] = (*_RULES, *rules)
    return tuple(sentence for rule in checked if (sentence := rule(settings)) is not None)


def refuse_unsafe_production(settings: S, rules: Sequence[Rule[S]] = ()) -> None:
    """Check the settings of a service in production; in development do nothing.

    Raises:
        SettingsError: the settings break rules; it has a line for each of them.
    """
    if settings.environment != "production":
        return
    if violations := production_violations(settings, rules):
        raise SettingsError(violations)


def is_plaintext_url_beyond_loopback(url: str) -> bool:
    """Return whether requests to a URL cross a network without TLS."""
    parts = urlsplit(url)
    return parts.scheme.lower() != "https" and not is_loopback_host(parts.hostname or "")


def _authentication(settings: ServiceSettings) -> str | None:
    if settings.authentication_enabled:
        return None
    prefix = settings.model_config.get("env_prefix", "")
    return f"{prefix}…: no authentication is configured, so that everyone who reaches the service can call it."


def _plaintext(settings: ServiceSettings) -> str | None:
    if settings.listen_address.is_loopback or settings.tls_cert_file is not None:
        return None
    listen, certificate = _variable(settings, "listen_address"), _variable(settings, "tls_cert_file")
    return f"{listen}: {settings.listen_address} can be reached from other machines, but {certificate} is not set."


def _allow_insecure(settings: ServiceSettings) -> str | None:
    if not settings.allow_insecure:
        return None
    return f"{_variable(settings, 'allow_insecure')}: must not be set in production."


def _reflection(settings: ServiceSettings) -> str | None:
    if not settings.reflection or settings.authentication_enabled:
        return None
    return f"{_variable(settings, 'reflection')}: must be 0 unless callers authenticate."


def _variable(settings: ServiceSettings, field: str) -> str:
    return variable_name(type(settings), field)


_RULES: Final[tuple[Rule[ServiceSettings], ...]] = (
    _authentication,
    _plaintext,
    _allow_insecure,
    _reflection,
)
