"""Claims that are signed with HS256 and expire: session cookies and hand-over tokens (JWT, RFC 7519).

The key is chosen by its id (`kid`). The header chooses neither the algorithm nor a key in any other way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
from catalogsync_common.auth.secret_keys import HmacKeys
from jwt.types import Options

_MAX_TOKEN_CHARACTERS: Final = 3_500
"""A browser keeps no cookie of more than 4,096 bytes."""
_MAX_CLOCK_SKEW: Final = timedelta(seconds=30)
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_UNSUPPORTED_HEADERS: Final = frozenset({"crit", "b64"})
_JWT: Final = jwt.PyJWT(options=Options(enforce_minimum_key_length=True))

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


class ClaimsInvalid(Exception):
    """The token is not one of ours, or has expired. The message contains nothing of it."""


class SignedClaims:
    """Signs and verifies claims for one audience."""

    def __init__(self, keys: HmacKeys, *, audience: str, max_lifetime: timedelta, clock: Clock = utc_now) -> None:
        """Create a signer.

        Args:
            keys: the first one signs, all of them verify.
            audience: the `aud` of the tokens.
            max_lifetime: the longest time between `iat` and `exp`.
            clock: returns the time.
        """
        self._keys = keys
        self._audience = audience
        self._max_lifetime = max_lifetime
        self._clock = clock

    def sign(self, claims: Mapping[str, Any], *, lifetime: timedelta) -> str:
        """Return a token that is valid from now on. Its audience and its times are added to the claims."""
        kid = self._keys.ids[0]
        now = self._clock()
        times = {"iat": int(now.timestamp()), "exp": int((now + lifetime).timestamp())}
        key = self._keys.get(kid)
        assert key is not None
        return jwt.encode({**claims, "aud": self._audience, **times}, key, algorithm="HS256", headers={"kid": kid})

    def verify(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token.

        Raises:
            ClaimsInvalid: it was not signed with one of the keys, is for another audience, or is not valid now.
        """
        if len(token) > _MAX_TOKEN_CHARACTERS or not _COMPACT.fullmatch(token):
            raise ClaimsInvalid("not a token")
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys.get(str(header.get("kid", "")))
            if key is None or not _UNSUPPORTED_HEADERS.isdisjoint(header):
                raise ClaimsInvalid("signed with an unknown key")
            claims: dict[str, Any] = _JWT.decode(token, key, algorithms=["HS256"], options=_options())
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise ClaimsInvalid("not signed as expected") from None
        self._check(claims)
        return claims

    def _check(self, claims: Mapping[str, Any]) -> None:
        # A list of audiences is refused, whatever is in it.
        if claims["aud"] != self._audience:
            raise ClaimsInvalid("for another audience")
        issued, expires, now = _time(claims["iat"]), _time(claims["exp"]), self._clock()
        if issued > now + _MAX_CLOCK_SKEW or not issued < expires <= issued + self._max_lifetime:
            raise ClaimsInvalid("not valid at this time")
        if "nbf" in claims and _time(claims["nbf"]) > now + _MAX_CLOCK_SKEW:
            raise ClaimsInvalid("not valid yet")
        if expires <= now:
            raise ClaimsInvalid("expired")


def expiry_of(claims: Mapping[str, Any]) -> datetime:
    """Return the time at which verified claims expire."""
    return _time(claims["exp"])


def _options() -> Options:
    # Times and the audience are checked above: by our clock, and without lists.
    return Options(
        require=["aud", "exp", "iat", "sub"],
        verify_aud=False,
        verify_exp=False,
        verify_iat=False,
        verify_iss=False,
        verify_nbf=False,
    )


def _time(value: object) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ClaimsInvalid("a time is not a number")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise ClaimsInvalid("a time is out of range") from None
