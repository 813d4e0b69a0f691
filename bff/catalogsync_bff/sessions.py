"""Sessions of browsers: hand-over tokens of the merchants' platform, and the cookie that they are exchanged for.

| Claim of a hand-over token | Meaning |
|---|---|
| aud | "catalogsync-bff" |
| sub | "merchant:" and the id of a merchant, or the domain of a shop |
| iat, exp | at most 2 minutes apart |
| jti | an id that is used once |
| name | optional: what the page shows as the name of the merchant |
| scope | optional: "catalog:read catalog:sync", separated by spaces; default: all scopes |
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from aiohttp import web
from catalogsync_common.auth.secret_keys import HmacKeys
from catalogsync_common.host_names import canonical_host_name
from catalogsync_common.token_claims import MERCHANT_PREFIX, SCOPES

from catalogsync_bff.expiring_set import ExpiringSet
from catalogsync_bff.signed_claims import ClaimsInvalid, Clock, SignedClaims, expiry_of, utc_now

HANDOVER_AUDIENCE: Final = "catalogsync-bff"
HANDOVER_LIFETIME: Final = timedelta(minutes=2)
_SESSION_AUDIENCE: Final = "catalogsync-bff-session"
_MAX_USED_TOKENS: Final = 100_000
_MAX_ENDED_SESSIONS: Final = 100_000
_MAX_SUBJECT_CHARACTERS: Final = 255
_MAX_NAME_CHARACTERS: Final = 100

ALL_SHOPS: Final = ""
"""The subject of a development session that sees all shops."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """Who uses the browser, and until when."""

    session_id: str
    subject: str
    """"merchant:" and an id, the domain of a shop, or ALL_SHOPS."""
    name: str
    scopes: frozenset[str]
    expires_at: datetime


class Sessions:
    """Begins, recognizes and ends sessions. The cookie holds the whole session: any process accepts it."""

    def __init__(
        self, *, handover: SignedClaims | None, cookies: SignedClaims, lifetime: timedelta, clock: Clock = utc_now
    ) -> None:
        """Create the sessions.

        Args:
            handover: verifies hand-over tokens; None: none is accepted.
            cookies: signs and verifies the values of cookies.
            lifetime: of a session.
            clock: returns the time.
        """
        self._handover = handover
        self._cookies = cookies
        self.lifetime = lifetime
        """Of a new session."""
        self._clock = clock
        self._used_tokens = ExpiringSet(_MAX_USED_TOKENS, clock=clock)
        self._ended_sessions = ExpiringSet(_MAX_ENDED_SESSIONS, clock=clock)

    @classmethod
    def of_keys(
        cls, handover_keys: HmacKeys, session_keys: HmacKeys, *, lifetime: timedelta, clock: Clock = utc_now
    ) -> Sessions:
        """Return the sessions of these keys; without session keys, of a random one."""
        if not session_keys.ids:
            session_keys = HmacKeys([("random", secrets.token_urlsafe(48))])
        handover = SignedClaims(
            handover_keys, audience=HANDOVER_AUDIENCE, max_lifetime=HANDOVER_LIFETIME, clock=clock
        )
        cookies = SignedClaims(session_keys, audience=_SESSION_AUDIENCE, max_lifetime=lifetime, clock=clock)
        return cls(
            handover=handover if handover_keys.ids else None, cookies=cookies, lifetime=lifetime, clock=clock
        )

    def accept_handover(self, token: str) -> Session:
        """Return the session for a hand-over token, which is used up by this.

        Raises:
            ClaimsInvalid: the token is not valid, or was used before in this process.
        """
        if self._handover is None:
            raise ClaimsInvalid("hand-over tokens are not accepted")
        claims = self._handover.verify(token)
        subject = _subject(claims["sub"])
        if not subject:
            raise ClaimsInvalid("no merchant and no shop")
        session = self._new(subject, name=_name(claims.get("name", "")), scopes=_scopes(claims.get("scope")))
        identifier = claims.get("jti")
        if not isinstance(identifier, str) or not 0 < len(identifier) <= _MAX_SUBJECT_CHARACTERS:
            raise ClaimsInvalid("no jti")
        if identifier in self._used_tokens or not self._used_tokens.add(identifier, expiry_of(claims)):
            raise ClaimsInvalid("used before")
        return session

    def begin(self, subject: str, *, name: str) -> Session:
        """Return a new session without a hand-over token, with all scopes: for development."""
        return self._new(_subject(subject) if subject else ALL_SHOPS, name=name, scopes=frozenset(SCOPES))

    def encode(self, session: Session) -> str:
        """Return the value of the session's cookie."""
        claims = {
            "sid": session.session_id,
            "sub": session.subject,
            "name": session.name,
            "scope": " ".join(sorted(session.scopes)),
        }
        return self._cookies.sign(claims, lifetime=session.expires_at - self._clock())

    def decode(self, value: str) -> Session:
        """Return the session of a cookie.

        Raises:
            ClaimsInvalid: the cookie is not ours or has expired, or the session was ended in this process.
        """
        claims = self._cookies.verify(value)
        session_id = str(claims.get("sid", ""))
        if not session_id or session_id in self._ended_sessions:
            raise ClaimsInvalid("ended")
        return Session(
            session_id=session_id,
            subject=str(claims["sub"]),
            name=str(claims.get("name", "")),
            scopes=_scopes(claims.get("scope")),
            expires_at=expiry_of(claims),
        )

    def end(self, session: Session) -> None:
        """End a session: this process no longer accepts its cookie, wherever it was copied to."""
        self._ended_sessions.add(session.session_id, session.expires_at)

    def purge(self) -> None:
        """Forget used tokens and ended sessions that have expired."""
        self._used_tokens.purge()
        self._ended_sessions.purge()

    def _new(self, subject: str, *, name: str, scopes: frozenset[str]) -> Session:
        expires_at = (self._clock() + self.lifetime).replace(microsecond=0)
        return Session(session_id=uuid4().hex, subject=subject, name=name, scopes=scopes, expires_at=expires_at)


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionCookie:
    """The cookie of the session: HttpOnly, SameSite=Lax, and Secure if browsers use HTTPS."""

    secure: bool

    @property
    def name(self) -> str:
        # With this prefix browsers accept the cookie only over HTTPS, for this host alone and all of its paths.
        return "__Host-catalogsync-session" if self.secure else "catalogsync-session"

    def read(self, cookies: Mapping[str, str]) -> str:
        """Return the value that the browser has sent, or ""."""
        return cookies.get(self.name, "")

    def write(self, response: web.StreamResponse, value: str, *, lifetime: timedelta) -> None:
        """Set the cookie."""
        response.set_cookie(
            self.name,
            value,
            max_age=int(lifetime.total_seconds()),
            path="/",
            httponly=True,
            secure=self.secure,
            samesite="Lax",
        )

    def clear(self, response: web.StreamResponse) -> None:
        """Delete the cookie."""
        response.del_cookie(self.name, path="/", httponly=True, secure=self.secure, samesite="Lax")


def _subject(value: Any) -> str:
    """Return the subject in its canonical form. Raises ClaimsInvalid."""
    if not isinstance(value, str) or not value.isprintable() or len(value) > _MAX_SUBJECT_CHARACTERS:
        raise ClaimsInvalid("the subject is malformed")
    if value.startswith(MERCHANT_PREFIX):
        if value == MERCHANT_PREFIX:
            raise ClaimsInvalid("the merchant has no id")
        return value
    domain = canonical_host_name(value)
    if domain is None:
        raise ClaimsInvalid("the subject is neither a merchant nor a domain")
    return domain


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise ClaimsInvalid("the name is not a text")
    return "".join(char for char in value if char.isprintable())[:_MAX_NAME_CHARACTERS]


def _scopes(value: Any) -> frozenset[str]:
    if value is None:
        return frozenset(SCOPES)
    if not isinstance(value, str):
        raise ClaimsInvalid("the scope is not a text")
    return known_scopes(value.split())


def known_scopes(scopes: Iterable[str]) -> frozenset[str]:
    """Return those scopes that exist."""
    return frozenset(scopes) & frozenset(SCOPES)
