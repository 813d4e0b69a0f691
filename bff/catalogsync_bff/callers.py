"""Who calls: a browser with a session, or a program with a token of catalog_svc."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from catalogsync_client import CatalogClient, CredentialsInvalid

from catalogsync_bff.errors import HttpError
from catalogsync_bff.sessions import ALL_SHOPS, Session, SessionCookie, Sessions
from catalogsync_bff.signed_claims import ClaimsInvalid, utc_now
from catalogsync_bff.upstream import Upstream

MANAGE_SCOPE: Final = "catalog:manage"
_BEARER: Final = "Bearer "


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who makes a request, and the catalog as seen with its rights."""

    subject: str
    """Identifies callers that see the same shops: that of the session, or a digest of the token."""
    catalog: CatalogClient
    session: Session | None
    """None: the caller has sent a token, which catalog_svc verifies with each call."""
    expires_at: datetime
    """When the credentials expire; event streams end then."""

    @property
    def sees_all_shops(self) -> bool:
        """Whether lists may name no shop. Of a token this is assumed: catalog_svc knows it, and checks it."""
        return self.session is None or self.session.subject == ALL_SHOPS

    @property
    def may_manage(self) -> bool:
        """Whether the BFF changes settings of shops for this caller. A token decides by itself what it may."""
        return self.session is not None and MANAGE_SCOPE in self.session.scopes


CALLER: Final = web.RequestKey("caller", Caller)


class Callers:
    """Recognizes callers."""

    def __init__(
        self,
        sessions: Sessions,
        cookie: SessionCookie,
        upstream: Upstream,
        *,
        dev_login: bool,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._sessions = sessions
        self._cookie = cookie
        self._upstream = upstream
        self._dev_login = dev_login
        self._clock = clock

    def identify(self, request: web.Request) -> Caller:
        """Return the caller of a request.

        Raises:
            HttpError: 401: it has neither a session nor a token, or the session has expired.
        """
        authorization = request.headers.get(hdrs.AUTHORIZATION)
        if authorization is not None:
            return self._of_token(authorization)
        session = self.session_of(request)
        if session is None:
            raise self.unauthenticated()
        try:
            catalog = self._upstream.for_subject(session.subject, session.scopes)
        except LookupError:
            raise self.unauthenticated() from None
        return Caller(
            subject=f"session:{session.subject}:{'sync' if 'catalog:sync' in session.scopes else 'read'}",
            catalog=catalog,
            session=session,
            expires_at=session.expires_at,
        )

    def session_of(self, request: web.Request) -> Session | None:
        """Return the session of a request's cookie, if it has a valid one."""
        value = self._cookie.read(request.cookies)
        try:
            return self._sessions.decode(value) if value else None
        except ClaimsInvalid:
            return None

    def unauthenticated(self) -> HttpError:
        """Return the error of a request without credentials."""
        return HttpError(
            HTTPStatus.UNAUTHORIZED,
            "UNAUTHENTICATED",
            "There is no session, or it has expired. Open this page from your platform again.",
            details={"dev_login": self._dev_login},
            headers={hdrs.WWW_AUTHENTICATE: 'Bearer realm="catalogsync"'},
        )

    def _of_token(self, authorization: str) -> Caller:
        token = authorization[len(_BEARER) :].strip()
        if not authorization.startswith(_BEARER) or not token:
            raise self.unauthenticated()
        try:
            catalog = self._upstream.for_token(token)
        except CredentialsInvalid:
            raise self.unauthenticated() from None
        digest = hashlib.sha256(token.encode()).hexdigest()
        return Caller(
            subject=f"token:{digest}", catalog=catalog, session=None, expires_at=_expiry(token, self._clock())
        )


def _expiry(token: str, now: datetime) -> datetime:
    """Return when a token says that it expires; now if it does not say so. catalog_svc verifies it."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return datetime.fromtimestamp(float(claims["exp"]), UTC)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, OSError):
        return now
