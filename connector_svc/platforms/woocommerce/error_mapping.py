"""Map a store's error responses to failures, as measured on a real store.

| Status | WordPress error code or text | Failure |
|---|---|---|
| 401 | "read permission" | SourceForbidden |
| 401 | any other, or none | SourceUnauthorized |
| 403 | any | SourceForbidden |
| 403 | none: not an answer of WordPress | SourceResponseInvalid |
| 404, 410 | any, or none | SourceNotFound |
| 400, 405, 414, 422 | any, or none | SourceQueryRefused |
| 5xx | | SourceUnreachable |
| 2xx with a web page | | SourceResponseInvalid |
| all others | | SourceResponseInvalid |
"""

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
from connector_svc.platforms.woocommerce.json_salvage import NotJson, TruncatedJson, decode_json_body

AUTHENTICATION_ERROR = "woocommerce_rest_authentication_error"
PERMALINKS_HINT = (
    'All addresses that WordPress has for its REST API were tried. Saving "Settings > Permalinks" in WordPress '
    "once often repairs it; no plugin may switch the REST API off"
)
_SAFE_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HTML_STARTS = (b"<!doctype html", b"<html")


class StoreError(msgspec.Struct, kw_only=True):
    """The body of an error response of WordPress."""

    code: str
    message: str = ""

    @property
    def safe_code(self) -> str:
        """The code if it has the form of one, else "unknown"."""
        return self.code if _SAFE_CODE.fullmatch(self.code) else "unknown"


_DECODER = msgspec.json.Decoder(StoreError)


def decode_store_error(reply: HttpReply) -> StoreError | None:
    """Return the error that WordPress sent; None when something else answered, such as a firewall."""
    try:
        return decode_json_body(reply.body, _DECODER.decode).value
    except (NotJson, TruncatedJson):
        return None


def map_error(shop: Shop, reply: HttpReply, *, secure: bool) -> SourceFailure:
    """Return the failure for a reply without a 2xx status.

    Args:
        secure: Whether the request was sent over https.
    """
    error = decode_store_error(reply)
    match reply.status:
        case 401:
            return _map_unauthorized(shop, reply, error, secure=secure)
        case 403:
            return _map_forbidden(shop, error)
        case 404 | 410:
            return _map_not_found(shop, error)
        case 400 | 405 | 414 | 422:
            code = error.safe_code if error else "no JSON"
            return SourceQueryRefused(shop, f"HTTP {reply.status}, {code}")
        case status if status >= 500:
            return SourceUnreachable(shop, f"HTTP {status}")
        case status:
            return SourceResponseInvalid(shop, f"HTTP {status}", http_status=str(status))


def map_not_json(shop: Shop, reply: HttpReply) -> SourceResponseInvalid:
    """Return the failure for a reply with a 2xx status whose body is not the expected JSON."""
    if "json" in _content_type(reply):
        return SourceResponseInvalid(shop, "JSON of another shape than the API's")
    return SourceResponseInvalid(
        shop, f"HTTP {reply.status} with a web page instead of JSON. {PERMALINKS_HINT}", content="page"
    )


def is_web_page(reply: HttpReply) -> bool:
    """Return whether the body is a web page, which may contain text like JSON. PHP notices do not count."""
    return _content_type(reply) != "application/json" and reply.body[:200].lstrip().lower().startswith(
        _HTML_STARTS
    )


def _content_type(reply: HttpReply) -> str:
    return reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _map_unauthorized(shop: Shop, reply: HttpReply, error: StoreError | None, *, secure: bool) -> SourceFailure:
    message = error.message.lower() if error else ""
    if "read permission" in message:
        return SourceForbidden(shop, 'the API key may not read: give it "Read" permission', missing="read")
    if "write permission" in message:
        return SourceForbidden(
            shop, 'the API key may not create webhooks: give it "Read/Write" permission', missing="write"
        )
    if not secure:
        return _map_rejected_signature(shop, error)
    if error is None and "WWW-Authenticate" in reply.headers:
        return SourceUnauthorized(shop, "the web server asks for a password of its own, before WordPress")
    if "secret" in message:
        return SourceUnauthorized(shop, "the consumer secret does not belong to the consumer key")
    if error is not None and error.code == AUTHENTICATION_ERROR:
        # Stores translate their messages.
        return SourceUnauthorized(shop, "the consumer secret is wrong, or the API key may not read")
    return SourceUnauthorized(shop, "the store does not know the consumer key")


def _map_rejected_signature(shop: Shop, error: StoreError | None) -> SourceFailure:
    """Over plain http requests are signed; a store describes a wrong signature in its own language."""
    if error is not None and error.code == AUTHENTICATION_ERROR:
        detail = (
            "the store does not accept the signature of a request over plain http: the consumer key or secret is "
            "wrong, or the store's settings name another address for the store"
        )
        return SourceUnauthorized(shop, detail)
    return SourceUnauthorized(shop, "the store does not accept signed requests over plain http: use https")


def _map_forbidden(shop: Shop, error: StoreError | None) -> SourceFailure:
    if error is None:
        detail = "HTTP 403 with a page that is not WordPress's, as of a firewall"
        return SourceResponseInvalid(shop, detail, http_status="403")
    return SourceForbidden(
        shop,
        "the user of the API key may not see the shop's products and settings: the user must be a shop manager or "
        f"administrator; {error.safe_code}",
        missing="manage_woocommerce",
    )


def _map_not_found(shop: Shop, error: StoreError | None) -> SourceFailure:
    if error is None:
        return SourceNotFound(shop, f"a web page says that there is no REST API. {PERMALINKS_HINT}")
    if error.code == "rest_no_route":
        return SourceNotFound(
            shop, "WordPress answers, but does not have WooCommerce's REST API wc/v3: is WooCommerce active?"
        )
    return SourceNotFound(shop, f"{error.safe_code}", code=error.safe_code)
