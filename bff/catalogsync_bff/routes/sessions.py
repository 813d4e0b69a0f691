"""The session of the browser: begun with a hand-over token, shown, and ended."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from catalogsync_bff.callers import Callers
from catalogsync_bff.envelope import data_response
from catalogsync_bff.errors import HttpError
from catalogsync_bff.json_form import Json
from catalogsync_bff.routing import Route
from catalogsync_bff.sessions import ALL_SHOPS, Session, SessionCookie, Sessions
from catalogsync_bff.signed_claims import ClaimsInvalid
from catalogsync_bff.upstream import Upstream

_log = logging.getLogger(__name__)

_PATH: Final = "/session"


class SessionRoutes:
    """Routes of the session.

    Args:
        sessions: begin and end here.
        cookie: of the session.
        callers: recognize sessions.
        upstream: knows whether sessions of single merchants are possible.
        dev_subject: the subject of sessions without a hand-over token; None: there are none.
    """

    def __init__(
        self,
        sessions: Sessions,
        cookie: SessionCookie,
        callers: Callers,
        upstream: Upstream,
        *,
        dev_subject: str | None,
    ) -> None:
        self._sessions = sessions
        self._cookie = cookie
        self._callers = callers
        self._upstream = upstream
        self._dev_subject = dev_subject

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return (
            # The platform's page sends the token: a request of another website, as it must be.
            Route(method="POST", path=_PATH, handler=self.begin, needs_caller=False, csrf_exempt=True),
            Route(method="GET", path=_PATH, handler=self.show, needs_caller=False),
            Route(method="DELETE", path=_PATH, handler=self.end, needs_caller=False),
            Route(method="POST", path=f"{_PATH}/dev", handler=self.begin_dev, needs_caller=False),
        )

    async def begin(self, request: web.Request) -> web.Response:
        """Exchange a hand-over token for a session: a form is redirected to the page, JSON is answered."""
        token, is_form = await _token_of(request)
        try:
            if not self._upstream.has_tokens:
                raise ClaimsInvalid("no key for the tokens of merchants is configured")
            session = self._sessions.accept_handover(token)
        except ClaimsInvalid as error:
            _log.info("a hand-over token was refused: %s", error)
            raise HttpError(
                HTTPStatus.UNAUTHORIZED, "HANDOVER_REFUSED", "The link to this page has expired. Open it again."
            ) from None
        if is_form:
            response = web.Response(status=HTTPStatus.SEE_OTHER, headers={hdrs.LOCATION: "/"})
        else:
            response = data_response(request, _session_json(session), status=HTTPStatus.CREATED)
        return self._with_cookie(response, session)

    async def begin_dev(self, request: web.Request) -> web.Response:
        """Begin a session without a token: for development."""
        if self._dev_subject is None:
            raise HttpError(HTTPStatus.NOT_FOUND, "NOT_FOUND", "There is no such address.")
        session = self._sessions.begin(self._dev_subject, name="Development")
        return self._with_cookie(
            data_response(request, _session_json(session), status=HTTPStatus.CREATED), session
        )

    async def show(self, request: web.Request) -> web.Response:
        """Return the session."""
        session = self._callers.session_of(request)
        if session is None:
            raise self._callers.unauthenticated()
        return data_response(request, _session_json(session))

    async def end(self, request: web.Request) -> web.Response:
        """End the session."""
        session = self._callers.session_of(request)
        if session is not None:
            self._sessions.end(session)
        response = web.Response(status=HTTPStatus.NO_CONTENT)
        self._cookie.clear(response)
        return response

    def _with_cookie(self, response: web.Response, session: Session) -> web.Response:
        value = self._sessions.encode(session)
        self._cookie.write(response, value, lifetime=self._sessions.lifetime)
        return response


async def _token_of(request: web.Request) -> tuple[str, bool]:
    """Return the token of a form or of a JSON object, and whether it is a form."""
    if request.content_type == "application/json":
        try:
            content = json.loads(await request.read())
        except (ValueError, RecursionError):
            content = None
        token = content.get("token") if isinstance(content, dict) else None
        return (token if isinstance(token, str) else ""), False
    if request.content_type != "application/x-www-form-urlencoded":
        raise HttpError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", "Expected a form or a JSON object."
        )
    token = (await request.post()).get("token")
    return (token if isinstance(token, str) else ""), True


def _session_json(session: Session) -> Json:
    return {
        "subject": session.subject if session.subject != ALL_SHOPS else "all shops",
        "name": session.name,
        "scopes": sorted(session.scopes),
        "expires_at": session.expires_at.isoformat().replace("+00:00", "Z"),
    }
