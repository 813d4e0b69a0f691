"""Who may read: the rules measured on a real store."""

from __future__ import annotations

import base64
import binascii
import hmac

from aiohttp import web

from devstore.spec import ShopSpec
from devstore.woocommerce.errors import cannot_view, unauthorized

_READ_METHODS = {"GET", "HEAD", "OPTIONS"}


def check_key(request: web.Request, spec: ShopSpec, *, single: bool) -> None:
    """Lets a request with the shop's read key pass and refuses every other one as the platform does.

    A pair in the query string wins over the Basic header. Over plain http both are ignored without a word.
    """
    key, secret = _given(request)
    known = spec.credentials
    # Blanks around the key are forgiven, in the secret they are not.
    if not key or not secret or not _same(key.strip(), known["consumer_key"]):
        raise cannot_view(single=single)
    if not _same(secret, known["consumer_secret"]):
        raise unauthorized("Consumer secret is invalid.")
    if request.method not in _READ_METHODS:
        raise unauthorized("The API key provided does not have write permissions.")


def _given(request: web.Request) -> tuple[str, str]:
    if request.scheme != "https":
        return "", ""
    key, secret = request.query.get("consumer_key", ""), request.query.get("consumer_secret", "")
    return (key, secret) if key and secret else _basic(request.headers.get("Authorization", ""))


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        key, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return key, secret


def _same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode(), known.encode())
