"""Builds the access control of a server from its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import SecretStr

from catalogsync_common.auth.access_rules import AccessRules
from catalogsync_common.auth.call_access import CallAccess, ShopAccess
from catalogsync_common.auth.jwks_file import InvalidJwks, JwksFile
from catalogsync_common.auth.secret_keys import HmacKeys, InvalidKeys, ServiceSecrets
from catalogsync_common.auth.tokens import ClientTokenPolicy, TokenKeys, TokenVerifier
from catalogsync_common.settings import SettingsError

T = TypeVar("T")


class TokenSettings(Protocol):
    """The settings of a server that accepts tokens."""

    @property
    def client_keys(self) -> SecretStr: ...
    @property
    def client_jwks_file(self) -> Path | None: ...
    @property
    def client_audience(self) -> str: ...
    @property
    def client_issuer(self) -> str: ...
    @property
    def client_token_lifetime(self) -> timedelta: ...
    @property
    def client_token_compatibility(self) -> bool: ...
    @property
    def operator_keys(self) -> SecretStr: ...


def service_access(services: Iterable[str], secrets: SecretStr, *, prefix: str) -> CallAccess | None:
    """Return the access control of a server that only services may call; None: authentication is off.

    Args:
        services: The full names of the gRPC services.
        secrets: The setting SERVICE_SECRETS.
        prefix: The prefix of the service's variables.

    Raises:
        SettingsError: The setting is invalid.
    """
    known = _parsed(ServiceSecrets.parse, secrets, f"{prefix}SERVICE_SECRETS")
    if not known:
        return None
    return CallAccess(AccessRules.of_services(services), secrets=known)


def token_access(
    services: Iterable[str], settings: TokenSettings, secrets: SecretStr, shops: ShopAccess, *, prefix: str
) -> CallAccess | None:
    """Return the access control of a server that clients, services and operators may call; None: it is off.

    Args:
        services: The full names of the gRPC services.
        settings: The settings of tokens.
        secrets: The setting SERVICE_SECRETS.
        shops: Whose shop is whose.
        prefix: The prefix of the service's variables.

    Raises:
        SettingsError: A setting is invalid.
    """
    known = _parsed(ServiceSecrets.parse, secrets, f"{prefix}SERVICE_SECRETS")
    keys = _token_keys(settings, prefix)
    has_clients = bool(keys.client_hmac.ids or keys.client_public)
    if not (known or has_clients or keys.operator.ids):
        return None
    legacy_only = settings.client_token_compatibility and not keys.client_public
    if has_clients and not (settings.client_issuer or legacy_only):
        raise SettingsError((f"{prefix}CLIENT_ISSUER: is required with client keys: the `iss` of their tokens",))
    policy = ClientTokenPolicy(
        audience=settings.client_audience,
        issuer=settings.client_issuer,
        max_lifetime=settings.client_token_lifetime,
        compatibility=settings.client_token_compatibility,
    )
    return CallAccess(
        AccessRules.of_services(services), secrets=known, tokens=TokenVerifier(keys, policy), shops=shops
    )


def _token_keys(settings: TokenSettings, prefix: str) -> TokenKeys:
    hmac = _parsed(HmacKeys.parse, settings.client_keys, f"{prefix}CLIENT_KEYS")
    operator = _parsed(HmacKeys.parse, settings.operator_keys, f"{prefix}OPERATOR_KEYS")
    if set(hmac.ids) & set(operator.ids):
        raise SettingsError((f"{prefix}OPERATOR_KEYS: a key id is one of {prefix}CLIENT_KEYS, too",))
    public = None
    if settings.client_jwks_file is not None:
        try:
            public = JwksFile(settings.client_jwks_file)
        except InvalidJwks as error:
            raise SettingsError((f"{prefix}CLIENT_JWKS_FILE: {settings.client_jwks_file} {error}",)) from None
    return TokenKeys(client_hmac=hmac, client_public=public, operator=operator)


def _parsed(parse: Callable[[str], T], secret: SecretStr, variable: str) -> T:
    try:
        return parse(secret.get_secret_value())
    except InvalidKeys as error:
        raise SettingsError((f"{variable}: {error}",)) from None
