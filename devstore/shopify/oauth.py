"""OAuth tokens that expire: the client credentials grant and the refresh token grant with rotation."""

from __future__ import annotations

import hmac
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from devstore.shopify.quirks import Quirks
from devstore.spec import ShopSpec

PATH = "admin/oauth/access_token"
_FORM_CONTENT_TYPE = "application/x-www-form-urlencoded"


@dataclass(slots=True, kw_only=True)
class _RefreshToken:
    """A refresh token and the one that replaces it."""

    token: str
    successor: str = ""
    """"" until the token is first used."""


class OAuthServer:
    """Grants access tokens and validates them.

    A refresh token stays valid after its exchange until its successor is first used.
    """

    def __init__(self, spec: ShopSpec, quirks: Quirks, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.client_id = "devstore-app"
        self.client_secret = f"shpss_devstore_{spec.domain}"
        self.refresh_token = f"shprt_devstore_{spec.domain}_0"
        """The refresh token that the app got when it was installed."""
        self.granted = 0
        """The number of granted access tokens."""
        self._domain = spec.domain
        self._static = spec.credentials.get("access_token", "")
        self._quirks = quirks
        self._clock = clock
        self._numbers = itertools.count(1)
        self._expires_at: dict[str, float] = {}
        self._refresh_tokens: dict[str, _RefreshToken] = {
            self.refresh_token: _RefreshToken(token=self.refresh_token)
        }

    def is_valid(self, token: str) -> bool:
        """Return whether an access token is valid now."""
        if self._quirks.static_token_works and hmac.compare_digest(token.encode(), self._static.encode()):
            return True
        return self._clock() < self._expires_at.get(token, 0.0)

    def expire_all(self) -> None:
        """Expire all granted access tokens."""
        self._expires_at.clear()

    async def answer(self, request: web.Request) -> web.Response:
        """Return the reply to a request for a token."""
        if request.method != "POST" or request.content_type != _FORM_CONTENT_TYPE:
            return _error(400, "invalid_request", "A form is expected")
        form = {name: str(value) for name, value in (await request.post()).items()}
        if (form.get("client_id"), form.get("client_secret")) != (self.client_id, self.client_secret):
            return _error(401, "invalid_client", "Unknown client or wrong secret")
        match form.get("grant_type"):
            case "client_credentials":
                return web.json_response(self._grant_access_token())
            case "refresh_token":
                return self._grant_by_refresh_token(form.get("refresh_token", ""))
            case _:
                return _error(400, "unsupported_grant_type", "The grant type is not supported")

    def _grant_access_token(self) -> dict[str, object]:
        lifetime = self._quirks.granted_token_lifetime.total_seconds()
        self.granted += 1
        token = f"shpat_granted_{self._domain}_{next(self._numbers)}"
        self._expires_at[token] = self._clock() + lifetime
        scopes = ",".join(self._quirks.scopes)
        return {"access_token": token, "scope": scopes, "expires_in": max(0, int(lifetime))}

    def _grant_by_refresh_token(self, token: str) -> web.Response:
        refresh_token = self._refresh_tokens.get(token)
        if refresh_token is None:
            return _error(400, "invalid_grant", "The refresh token is not valid")
        for old in [name for name, old_token in self._refresh_tokens.items() if old_token.successor == token]:
            del self._refresh_tokens[old]
        if not refresh_token.successor:
            refresh_token.successor = f"shprt_devstore_{self._domain}_{next(self._numbers)}"
            self._refresh_tokens[refresh_token.successor] = _RefreshToken(token=refresh_token.successor)
        return web.json_response({**self._grant_access_token(), "refresh_token": refresh_token.successor})


def _error(status: int, error: str, description: str) -> web.Response:
    return web.json_response({"error": error, "error_description": description}, status=status)
