"""What a status other than 200 means, as measured on a real store."""

from __future__ import annotations

import re

import msgspec

from connector_svc.domain.errors import (
    SourceFailure,
    SourceForbidden,
    SourceNotFound,
    SourceQueryRefused,
    SourceResponseInvalid,
    SourceUnauthorized,
    SourceUnreachable,
)
from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import HttpReply
from connector_svc.platforms.woocommerce.json_salvage import CutShort, NotJson, parse

AUTHENTICATION_ERROR = "woocommerce_rest_authentication_error"
PERMALINKS_HINT = (
    'We tried each address that WordPress has for its REST API. In WordPress, saving "Settings > Permalinks" once '
    "often repairs it; no plugin may switch it off"
)
_SAFE_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class StoreError(msgspec.Struct, kw_only=True):
    """The body of a refusal, when it is WordPress that refuses."""

    code: str
    message: str = ""

    @property
    def safe_code(self) -> str:
        """The code, if it looks like one."""
        return self.code if _SAFE_CODE.fullmatch(self.code) else "unknown"


_DECODER = msgspec.json.Decoder(StoreError)


def store_error(reply: HttpReply) -> StoreError | None:
    """What WordPress says; None when something else answered, such as a firewall."""
    try:
        return parse(reply.body, _DECODER.decode).value
    except (NotJson, CutShort):
        return None


def refusal(shop: Shop, reply: HttpReply, *, secure: bool) -> SourceFailure:
    """The failure for a reply that is no success; `secure` tells whether it came over https."""
    error = store_error(reply)
    match reply.status:
        case 401:
            return _unauthorized(shop, reply, error, secure=secure)
        case 403:
            return _forbidden(shop, error)
        case 404 | 410:
            return _not_found(shop, error)
        case 400 | 405 | 414 | 422:
            code = error.safe_code if error else "no JSON"
            return SourceQueryRefused(shop, f"HTTP {reply.status}, {code}")
        case status if status >= 500:
            return SourceUnreachable(shop, f"HTTP {status}")
        case status:
            return SourceResponseInvalid(shop, f"HTTP {status}", http_status=str(status))


def _unauthorized(shop: Shop, reply: HttpReply, error: StoreError | None, *, secure: bool) -> SourceFailure:
    message = error.message.lower() if error else ""
    if "read permission" in message:
        return SourceForbidden(shop, 'the API key may not read: give it "Read" permission', missing="read")
    if not secure:
        return _unsigned(shop, error)
    if error is None and "WWW-Authenticate" in reply.headers:
        return SourceUnauthorized(shop, "the web server asks for a password of its own, before WordPress")
    if "secret" in message:
        return SourceUnauthorized(shop, "the consumer secret does not belong to the consumer key")
    if error is not None and error.code == AUTHENTICATION_ERROR:
        # Stores translate their messages.
        return SourceUnauthorized(shop, "the consumer secret is wrong, or the API key may not read")
    return SourceUnauthorized(shop, "the store does not know the consumer key")


def _unsigned(shop: Shop, error: StoreError | None) -> SourceFailure:
    """Over plain http requests are signed; what a store says of a signature is in its own language."""
    if error is not None and error.code == AUTHENTICATION_ERROR:
        detail = (
            "the store does not accept the signature of a request over plain http: the consumer key or secret is "
            "wrong, or the store's own address in its settings is another"
        )
        return SourceUnauthorized(shop, detail)
    return SourceUnauthorized(shop, "the store does not take signed requests over plain http: call it over https")


def _forbidden(shop: Shop, error: StoreError | None) -> SourceFailure:
    if error is None:
        detail = "HTTP 403 with a page that is not WordPress's, as of a firewall"
        return SourceResponseInvalid(shop, detail, http_status="403")
    return SourceForbidden(
        shop,
        "the user of the API key may not see the shop's products and settings: it must be a shop manager or "
        f"administrator; {error.safe_code}",
        missing="manage_woocommerce",
    )


def _not_found(shop: Shop, error: StoreError | None) -> SourceFailure:
    if error is None:
        return SourceNotFound(shop, f"a web page says that there is no REST API. {PERMALINKS_HINT}")
    if error.code == "rest_no_route":
        return SourceNotFound(shop, "WordPress is there, but WooCommerce's REST API wc/v3 is not: is it active?")
    return SourceNotFound(shop, f"{error.safe_code}", code=error.safe_code)
