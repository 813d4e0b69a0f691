"""Mints tokens with HS256: what a BFF does for its merchants, and an operator for himself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import jwt

from catalogsync_common.token_claims import (
    CLIENT_TOKEN_LIFETIME,
    MERCHANT_PREFIX,
    OPERATOR_AUDIENCE,
    OPERATOR_ISSUER,
    OPERATOR_TOKEN_LIFETIME,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SigningKey:
    """A key that signs tokens."""

    kid: str
    """By this id the service finds the key that verifies."""
    key: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> SigningKey:
        """Return the key of "kid:key". Raises ValueError, whose message contains no key."""
        kid, colon, key = text.strip().partition(":")
        if not (kid and colon and key):
            raise ValueError('expected "kid:key"')
        return cls(kid=kid, key=key)


def mint_operator_token(
    key: SigningKey, name: str, *, scopes: Iterable[str], lifetime: timedelta = OPERATOR_TOKEN_LIFETIME
) -> str:
    """Return a token of an operator, valid from now on.

    Args:
        key: One of the service's OPERATOR_KEYS.
        name: The person; it is written to the access log.
        scopes: What the token permits.
        lifetime: At most 12 hours.
    """
    claims = {"aud": OPERATOR_AUDIENCE, "iss": OPERATOR_ISSUER, "sub": name}
    return _mint(key, claims, scopes=scopes, lifetime=lifetime)


def mint_client_token(
    key: SigningKey,
    *,
    issuer: str,
    domain: str = "",
    merchant_id: str = "",
    audience: str = "catalogsync",
    scopes: Iterable[str],
    lifetime: timedelta = CLIENT_TOKEN_LIFETIME,
) -> str:
    """Return a token of a client, valid from now on.

    Args:
        key: One of the service's CLIENT_KEYS.
        issuer: The service's CLIENT_ISSUER.
        domain: The host name of the shops that the token gives access to, or else:
        merchant_id: The merchant whose shops it gives access to.
        audience: The service's CLIENT_AUDIENCE.
        scopes: What the token permits.
        lifetime: At most the service's CLIENT_TOKEN_LIFETIME.

    Raises:
        ValueError: Not exactly one of domain and merchant_id is given.
    """
    if bool(domain) == bool(merchant_id):
        raise ValueError("give either domain or merchant_id")
    claims = {"aud": audience, "iss": issuer, "sub": domain or f"{MERCHANT_PREFIX}{merchant_id}"}
    return _mint(key, claims, scopes=scopes, lifetime=lifetime)


def _mint(key: SigningKey, claims: dict[str, str], *, scopes: Iterable[str], lifetime: timedelta) -> str:
    now = datetime.now(UTC)
    return jwt.encode(
        {**claims, "scope": " ".join(scopes), "iat": now, "exp": now + lifetime},
        key.key,
        algorithm="HS256",
        headers={"kid": key.kid},
    )
