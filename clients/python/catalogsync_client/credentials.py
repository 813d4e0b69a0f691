"""Credentials of calls: tokens that are renewed, and service secrets."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from catalogsync_common.token_claims import AUTHORIZATION_HEADER, SERVICE_SECRET_HEADER

from catalogsync_client.errors import CatalogSyncError, TokenUnavailable

Metadata: TypeAlias = tuple[tuple[str, str], ...]
_EXPIRY_MARGIN_SECONDS: Final = 30.0
"""A token is replaced this long before it expires, so that it does not expire on its way to the service."""


class Credentials(Protocol):
    """Authenticate calls."""

    async def metadata(self) -> Metadata:
        """Return the metadata of the next call.

        Raises:
            TokenUnavailable: the credentials cannot be obtained.
        """
        ...

    async def renew(self) -> bool:
        """Return whether the next metadata differs from the last one, after the service called that expired."""
        ...


class CredentialsInvalid(ValueError):
    """A credential contains characters that cannot be sent. The message does not contain it."""


def is_sendable(credential: str) -> bool:
    """Return whether gRPC can send the text as metadata."""
    return credential.isascii() and (credential.isprintable() or not credential) and " " not in credential


@dataclass(frozen=True)
class NoCredentials:
    """For services that run without authentication, on the loopback interface."""

    async def metadata(self) -> Metadata:
        return ()

    async def renew(self) -> bool:
        return False


@dataclass(frozen=True)
class BearerToken:
    """A token that does not change."""

    token: str = field(repr=False)

    def __post_init__(self) -> None:
        _require_sendable(self.token)

    async def metadata(self) -> Metadata:
        return _bearer(self.token)

    async def renew(self) -> bool:
        return False


@dataclass(frozen=True)
class ServiceSecret:
    """The secret of a service that acts for all shops, such as a BFF: "name:secret"."""

    name_and_secret: str = field(repr=False)

    def __post_init__(self) -> None:
        _require_sendable(self.name_and_secret)

    async def metadata(self) -> Metadata:
        return ((SERVICE_SECRET_HEADER, self.name_and_secret),)

    async def renew(self) -> bool:
        return False


class TokenFile:
    """A token in a file, which is read before each call: the file is replaced when the token is renewed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._last_token = ""

    async def metadata(self) -> Metadata:
        self._last_token = self._read()
        return _bearer(self._last_token) if self._last_token else ()

    async def renew(self) -> bool:
        return self._read() != self._last_token

    def _read(self) -> str:
        try:
            token = self._file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            # Perhaps it is being replaced: the token of the last call may still be valid.
            return self._last_token
        return token if is_sendable(token) else ""


class TokenProvider:
    """Tokens from a function, such as a call of an identity provider.

    The function is called before the first call, shortly before the token expires (if it is a JWT with an "exp"
    claim), and when the service says that it has expired. Concurrent calls wait for one call of the function.

    Args:
        fetch: returns a new token. Its errors become TokenUnavailable: a unary call fails with it, a stream tries
            again.
    """

    def __init__(self, fetch: Callable[[], Awaitable[str]]) -> None:
        self._fetch = fetch
        self._lock = asyncio.Lock()
        self._token = ""
        self._expires_at: float | None = None
        """Unix time; None: not known."""

    async def metadata(self) -> Metadata:
        async with self._lock:
            if not self._token or self._is_about_to_expire():
                await self._replace()
            return _bearer(self._token)

    async def renew(self) -> bool:
        expired = self._token
        async with self._lock:
            if self._token == expired:
                await self._replace()
            return self._token != expired

    def _is_about_to_expire(self) -> bool:
        return self._expires_at is not None and time.time() > self._expires_at - _EXPIRY_MARGIN_SECONDS

    async def _replace(self) -> None:
        try:
            token = await self._fetch()
            _require_sendable(token)
        except CatalogSyncError:
            raise
        except Exception as error:
            raise TokenUnavailable.because_of(error) from error
        self._token, self._expires_at = token, _expiry(token)


def _bearer(token: str) -> Metadata:
    return ((AUTHORIZATION_HEADER, f"Bearer {token}"),)


def _require_sendable(credential: str) -> None:
    # grpc would quote a value that it cannot send in its error message; ours must not contain the credential.
    if not credential or not is_sendable(credential):
        raise CredentialsInvalid("the credential is empty or contains characters that cannot be sent")


def _expiry(token: str) -> float | None:
    """Return the "exp" claim of a JWT; None if there is none. The signature is for the service to verify."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None
