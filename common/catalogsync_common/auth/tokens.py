"""Verifies the tokens (JWT, RFC 7519) of clients and operators.

The key is chosen by its id (`kid`), and the key alone decides the algorithm and what the token must claim. The
headers `alg`, `jku`, `x5u` and `jwk` never choose a key or an algorithm; tokens with `crit` or `b64` are refused.

| Claim | Client | Operator |
|---|---|---|
| sub | "demo.myshopify.com", or "merchant:" and the id of a merchant | name of the person |
| aud | the configured audience | "catalogsync-operator" |
| iss | the configured issuer | "catalogsync" |
| scope | "catalog:read catalog:sync", separated by spaces | the same |
| iat, exp | required; at most 15 minutes apart | required; at most 12 hours apart |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
from jwt.types import Options

from catalogsync_common.auth.failures import TokenExpired, Unauthenticated
from catalogsync_common.auth.jwks_file import JwksFile
from catalogsync_common.auth.secret_keys import HmacKeys
from catalogsync_common.host_names import canonical_host_name
from catalogsync_common.principal import Principal, PrincipalKind
from catalogsync_common.token_claims import (
    MAX_CLOCK_SKEW,
    MERCHANT_PREFIX,
    OPERATOR_AUDIENCE,
    OPERATOR_ISSUER,
    OPERATOR_TOKEN_LIFETIME,
)

_MAX_TOKEN_CHARACTERS: Final = 6_000
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""The compact serialization without padding (RFC 7515, section 7.1); PyJWT accepts padding as well."""
_UNSUPPORTED_HEADERS: Final = frozenset({"crit", "b64"})
_MAX_SUBJECT_CHARACTERS: Final = 255
_LEGACY_SCOPES: Final = {"bff:call": ("catalog:read", "catalog:sync")}
"""What a scope of the old BFF permits, with the compatibility switch."""

_JWT: Final = jwt.PyJWT(options=Options(enforce_minimum_key_length=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientTokenPolicy:
    """What the tokens of clients must be."""

    audience: str
    issuer: str
    max_lifetime: timedelta = timedelta(minutes=15)
    compatibility: bool = False
    """Whether tokens of the old BFF, with HS256, are accepted: without kid, aud, iss, and with "bff:call"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenKeys:
    """The keys that verify tokens. The ids of all of them are distinct."""

    client_hmac: HmacKeys = field(default_factory=HmacKeys)
    client_public: JwksFile | None = None
    operator: HmacKeys = field(default_factory=HmacKeys)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A key that may have signed a token, and what the token must claim then."""

    key: Any
    algorithm: str
    is_operator: bool


class TokenVerifier:
    """Verifies tokens and returns their principals."""

    def __init__(
        self,
        keys: TokenKeys,
        policy: ClientTokenPolicy,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._keys = keys
        self._policy = policy
        self._clock = clock

    def verify(self, token: str) -> Principal:
        """Return the principal of a token.

        Raises:
            Unauthenticated: The token is not valid.
            TokenExpired: It was valid.
        """
        if len(token) > _MAX_TOKEN_CHARACTERS or not _COMPACT.fullmatch(token):
            raise _invalid()
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise _invalid() from None
        if not _UNSUPPORTED_HEADERS.isdisjoint(header):
            raise _invalid()
        for candidate in self._candidates(header.get("kid")):
            claims = self._decode(token, candidate)
            if claims is not None:
                return self._principal(claims, candidate)
        raise _invalid()

    def _candidates(self, kid: object) -> list[_Candidate]:
        if kid is None and self._policy.compatibility:
            hmac = self._keys.client_hmac
            return [_Candidate(hmac.get(one), "HS256", False) for one in hmac.ids]
        if not isinstance(kid, str):
            return []
        operator, client = self._keys.operator.get(kid), self._keys.client_hmac.get(kid)
        if operator is not None:
            return [_Candidate(operator, "HS256", True)]
        if client is not None:
            return [_Candidate(client, "HS256", False)]
        public = self._keys.client_public.get(kid) if self._keys.client_public else None
        return [_Candidate(public.key, public.algorithm, False)] if public else []

    def _decode(self, token: str, candidate: _Candidate) -> Mapping[str, Any] | None:
        """Return the claims; None when the key did not sign the token. Raises Unauthenticated, TokenExpired."""
        lenient = self._may_be_legacy(candidate)
        required = ["exp", "iat", "sub"] if lenient else ["exp", "iat", "sub", "aud", "iss"]
        try:
            claims: dict[str, Any] = _JWT.decode(
                token,
                candidate.key,
                algorithms=[candidate.algorithm],
                # Times are checked here, by the clock of this verifier; audience and issuer as well, since PyJWT
                # accepts a list of audiences.
                options=Options(
                    require=required,
                    verify_exp=False,
                    verify_iat=False,
                    verify_nbf=False,
                    verify_aud=False,
                    verify_iss=False,
                ),
            )
        except jwt.InvalidSignatureError:
            return None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise _invalid() from None
        self._check_claims(claims, candidate, lenient=lenient)
        return claims

    def _may_be_legacy(self, candidate: _Candidate) -> bool:
        """Return whether the key may have signed a token of the old BFF, which has no public keys."""
        return self._policy.compatibility and candidate.algorithm == "HS256" and not candidate.is_operator

    def _check_claims(self, claims: Mapping[str, Any], candidate: _Candidate, *, lenient: bool) -> None:
        audience = OPERATOR_AUDIENCE if candidate.is_operator else self._policy.audience
        issuer = OPERATOR_ISSUER if candidate.is_operator else self._policy.issuer
        for name, expected in (("aud", audience), ("iss", issuer)):
            # A list is refused, whatever is in it (CVE-2026-75509).
            if claims.get(name) != expected and not (lenient and name not in claims):
                raise _invalid()
        lifetime = OPERATOR_TOKEN_LIFETIME if candidate.is_operator else self._policy.max_lifetime
        issued, expires, now = _time(claims["iat"]), _time(claims["exp"]), self._clock()
        not_before = _time(claims["nbf"]) if "nbf" in claims else issued
        if max(issued, not_before) > now + MAX_CLOCK_SKEW or not issued < expires <= issued + lifetime:
            raise _invalid()
        if expires <= now:
            raise TokenExpired

    def _principal(self, claims: Mapping[str, Any], candidate: _Candidate) -> Principal:
        subject, scopes = claims["sub"], _scopes(claims.get("scope", ""))
        if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT_CHARACTERS:
            raise _invalid()
        expires_at = _time(claims["exp"])
        if candidate.is_operator:
            return Principal(
                kind=PrincipalKind.OPERATOR, name=_printable(subject), scopes=scopes, expires_at=expires_at
            )
        if self._may_be_legacy(candidate):
            scopes |= {scope for old in scopes for scope in _LEGACY_SCOPES.get(old, ())}
        merchant_id = _printable(subject.removeprefix(MERCHANT_PREFIX)) if _is_merchant(subject) else ""
        domain = "" if merchant_id else _canonical_domain(subject)
        return Principal(
            kind=PrincipalKind.CLIENT,
            name=f"{MERCHANT_PREFIX}{merchant_id}" if merchant_id else domain,
            scopes=scopes,
            domain=domain,
            merchant_id=merchant_id,
            expires_at=expires_at,
        )


def _invalid() -> Unauthenticated:
    return Unauthenticated("The token is not valid for this service.")


def _is_merchant(subject: str) -> bool:
    return subject.startswith(MERCHANT_PREFIX)


def _printable(text: str) -> str:
    if not text or not text.isprintable():
        raise _invalid()
    return text


def _canonical_domain(subject: str) -> str:
    domain = canonical_host_name(subject)
    if domain is None:
        raise _invalid()
    return domain


def _scopes(value: object) -> frozenset[str]:
    if not isinstance(value, str):
        raise _invalid()
    return frozenset(value.split())


def _time(value: object) -> datetime:
    """Return a NumericDate of RFC 7519, in whole or fractional seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid()
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise _invalid() from None
