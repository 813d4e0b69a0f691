"""Tokens that expire: the client credentials grant and refresh tokens that rotate."""

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
_FORM = "application/x-www-form-urlencoded"


@dataclass(slots=True, kw_only=True)
class _Pair:
    """A refresh token and the one that it was exchanged for."""

    token: str
    successor: str = ""


class Oauth:
    """Hands out access tokens and knows which of them still work.

    A refresh token goes on working after its exchange until its successor is first used.
    """

    def __init__(self, spec: ShopSpec, quirks: Quirks, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.client_id = "devstore-app"
        self.client_secret = f"shpss_devstore_{spec.domain}"
        self.refresh_token = f"shprt_devstore_{spec.domain}_0"
        """The one that the app got when it was installed."""
        self.granted = 0
        """How many tokens were handed out."""
        self._domain = spec.domain
        self._static = spec.credentials.get("access_token", "")
        self._quirks = quirks
        self._clock = clock
        self._numbers = itertools.count(1)
        self._live: dict[str, float] = {}
        self._refresh: dict[str, _Pair] = {self.refresh_token: _Pair(token=self.refresh_token)}

    def knows(self, token: str) -> bool:
        """Whether the token opens the shop now."""
        if self._quirks.static_token_works and hmac.compare_digest(token.encode(), self._static.encode()):
            return True
        return self._clock() < self._live.get(token, 0.0)

    def expire_all(self) -> None:
        """No token that was handed out works any more."""
        self._live.clear()

    async def answer(self, request: web.Request) -> web.Response:
        """The reply to a request for a token."""
        if request.method != "POST" or request.content_type != _FORM:
            return _refused(400, "invalid_request", "A form is expected")
        form = {name: str(value) for name, value in (await request.post()).items()}
        if (form.get("client_id"), form.get("client_secret")) != (self.client_id, self.client_secret):
            return _refused(401, "invalid_client", "Unknown client or wrong secret")
        match form.get("grant_type"):
            case "client_credentials":
                return web.json_response(self._access())
            case "refresh_token":
                return self._refreshed(form.get("refresh_token", ""))
            case _:
                return _refused(400, "unsupported_grant_type", "The grant type is not supported")

    def _access(self) -> dict[str, object]:
        lifetime = self._quirks.granted_token_lifetime.total_seconds()
        self.granted += 1
        token = f"shpat_granted_{self._domain}_{next(self._numbers)}"
        self._live[token] = self._clock() + lifetime
        scopes = ",".join(self._quirks.scopes)
        return {"access_token": token, "scope": scopes, "expires_in": max(0, int(lifetime))}

    def _refreshed(self, token: str) -> web.Response:
        pair = self._refresh.get(token)
        if pair is None:
            return _refused(400, "invalid_grant", "The refresh token is not valid")
        for old in [name for name, held in self._refresh.items() if held.successor == token]:
            del self._refresh[old]
        if not pair.successor:
            pair.successor = f"shprt_devstore_{self._domain}_{next(self._numbers)}"
            self._refresh[pair.successor] = _Pair(token=pair.successor)
        return web.json_response({**self._access(), "refresh_token": pair.successor})


def _refused(status: int, error: str, description: str) -> web.Response:
    return web.json_response({"error": error, "error_description": description}, status=status)
