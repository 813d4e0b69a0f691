"""Combinations of settings that the BFF refuses to start with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from catalogsync_common.loopback import is_loopback_target
from catalogsync_common.settings import SettingsError

from catalogsync_bff.settings import BffSettings

Rule = Callable[[BffSettings], str | None]
"""Returns a sentence that begins with the variable, if the settings break the rule. It quotes no secret."""


def check_settings(settings: BffSettings) -> None:
    """Check settings that depend on each other, and in production those that are unsafe.

    Raises:
        SettingsError: it has a line for each broken rule.
    """
    rules = _RULES if settings.environment == "development" else (*_RULES, *_PRODUCTION_RULES)
    lines = tuple(_broken(settings, rules))
    if lines:
        raise SettingsError(lines)


def _broken(settings: BffSettings, rules: tuple[Rule, ...]) -> Iterator[str]:
    for rule in rules:
        if (sentence := rule(settings)) is not None:
            yield sentence


def _dev_login(settings: BffSettings) -> str | None:
    if settings.dev_login and not settings.listen_address.is_loopback:
        return "BFF_DEV_LOGIN: only on a loopback address, since everyone who reaches it may open a session."
    return None


def _public_url(settings: BffSettings) -> str | None:
    if settings.public_url or settings.listen_address.is_loopback:
        return None
    return f"BFF_PUBLIC_URL: is missing, but {settings.listen_address} can be reached from other machines."


def _plaintext(settings: BffSettings) -> str | None:
    if settings.listen_address.is_loopback or settings.allow_insecure:
        return None
    return (
        f"BFF_LISTEN_ADDRESS: {settings.listen_address} can be reached from other machines, without encryption; "
        "listen on 127.0.0.1 behind a proxy with TLS, or set BFF_ALLOW_INSECURE=1 where a trusted network "
        "connects both"
    )


def _handover(settings: BffSettings) -> str | None:
    if settings.handover_keys.get_secret_value() and not settings.client_key.get_secret_value():
        return "BFF_CLIENT_KEY: is missing, but BFF_HANDOVER_KEYS is set: it signs the tokens of merchants."
    return None


def _dev_subject(settings: BffSettings) -> str | None:
    if settings.dev_login and settings.dev_subject and not settings.client_key.get_secret_value():
        return "BFF_CLIENT_KEY: is missing, but BFF_DEV_SUBJECT is set: it signs the tokens of merchants."
    return None


def _issuer(settings: BffSettings) -> str | None:
    if settings.client_key.get_secret_value() and not settings.client_issuer:
        return "BFF_CLIENT_ISSUER: is missing, but BFF_CLIENT_KEY is set: the `iss` of the tokens of merchants."
    return None


def _no_dev_login(settings: BffSettings) -> str | None:
    return "BFF_DEV_LOGIN: must not be set in production." if settings.dev_login else None


def _https(settings: BffSettings) -> str | None:
    if settings.public_url.startswith("https://"):
        return None
    return "BFF_PUBLIC_URL: must begin with https://, since browsers send session cookies."


def _session_keys(settings: BffSettings) -> str | None:
    if settings.session_keys.get_secret_value():
        return None
    return "BFF_SESSION_KEYS: is missing: sessions would end with each restart, and in other processes."


def _service_secret(settings: BffSettings) -> str | None:
    if settings.service_secret.get_secret_value():
        return None
    return "BFF_SERVICE_SECRET: is missing: catalog_svc would have to run without authentication."


def _catalog(settings: BffSettings) -> str | None:
    if settings.catalog_tls_ca_file is not None or is_loopback_target(settings.catalog_address):
        return None
    return (
        f"BFF_CATALOG_ADDRESS: {settings.catalog_address} is on another machine, but BFF_CATALOG_TLS_CA_FILE is "
        "not set."
    )


def _image_hosts(settings: BffSettings) -> str | None:
    return "BFF_IMAGE_HOSTS: must not be set in production." if settings.image_hosts else None


_RULES: Final[tuple[Rule, ...]] = (_dev_login, _public_url, _plaintext, _handover, _dev_subject, _issuer)
_PRODUCTION_RULES: Final[tuple[Rule, ...]] = (
    _no_dev_login,
    _https,
    _session_keys,
    _service_secret,
    _catalog,
    _image_hosts,
)
