"""Protection against requests that another website makes a browser send (CSRF).

A request that changes something is accepted only with a header that other origins cannot send without asking
(`X-Requested-With: catalogsync`), as JSON, and from the BFF's own origin if the browser names one.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from catalogsync_common.loopback import is_loopback_host
from yarl import URL

from catalogsync_bff.errors import HttpError

REQUESTED_WITH_HEADER: Final = "X-Requested-With"
REQUESTED_WITH: Final = "catalogsync"
_SAFE_METHODS: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})
_JSON: Final = "application/json"


class CsrfGuard:
    """Refuses unsafe requests of other websites."""

    def __init__(self, public_url: str) -> None:
        """Create a guard.

        Args:
            public_url: the origin of the BFF; "": only this machine calls it, and the Host header says as what.
        """
        self._public_url = public_url

    def check(self, request: web.Request) -> None:
        """Check a request of a browser.

        Raises:
            HttpError: 403: it may come from another website. 415: it has a body that is not JSON.
        """
        self.check_host(request)
        if request.method in _SAFE_METHODS or hdrs.AUTHORIZATION in request.headers:
            # A browser never adds an Authorization header of its own to a request of another website.
            return
        if request.headers.get(REQUESTED_WITH_HEADER) != REQUESTED_WITH:
            raise _rejected(f"The header {REQUESTED_WITH_HEADER}: {REQUESTED_WITH} is missing.")
        self.check_origin(request)
        if request.can_read_body and request.content_type != _JSON:
            raise HttpError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", f"Expected a body of type {_JSON}."
            )

    def check_host(self, request: web.Request) -> None:
        """Check the name under which a BFF without a public address is called: against DNS rebinding.

        Raises:
            HttpError: 403: another website's name leads to this machine.
        """
        if not self._public_url and not is_loopback_host(_host_name(request.host)):
            raise _rejected("This address serves this machine only; set BFF_PUBLIC_URL to serve others.")

    def check_origin(self, request: web.Request) -> None:
        """Check where the request comes from.

        Raises:
            HttpError: 403: from another origin.
        """
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None:
            own = self._public_url or f"http://{request.host}"
            if origin.lower() != own.lower():
                raise _rejected("The request comes from another website.")
        elif request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            raise _rejected("The request comes from another website.")


def _host_name(host: str) -> str:
    try:
        return URL(f"http://{host}").host or ""
    except ValueError:
        return ""


def _rejected(message: str) -> HttpError:
    return HttpError(HTTPStatus.FORBIDDEN, "CSRF_REJECTED", message)
