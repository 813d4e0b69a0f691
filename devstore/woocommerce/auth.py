"""Who may read: the rules measured on a real store."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Set
from datetime import datetime

from aiohttp import web

from devstore.spec import ShopSpec
from devstore.woocommerce.errors import cannot_view, unauthorized
from devstore.woocommerce.quirk import WooQuirk
from devstore.woocommerce.signature import Signatures

_READ_METHODS = {"GET", "HEAD", "OPTIONS"}
_MARKS = ("wp-json/wc/", "wp-json/wc-")


class Keys:
    """The one key of a shop, which may read.

    A pair in the query string wins over the Basic header. Over plain http both are ignored without a word, and
    only signatures count. No key is looked at unless the API's address stands somewhere in the request line.
    """

    def __init__(self, spec: ShopSpec, quirks: Set[WooQuirk], clock: Callable[[], datetime]) -> None:
        self._spec = spec
        self._quirks = quirks
        self._signatures = Signatures(clock)

    def check(self, request: web.Request, *, single: bool, url: str) -> None:
        """Lets a request pass or raises RestError as the platform does; `url` as the store writes its address."""
        if not any(mark in request.raw_path for mark in _MARKS):
            raise cannot_view(single=single)
        known = self._spec.credentials
        key, secret = known["consumer_key"], known["consumer_secret"]
        if request.scheme != "https" and "oauth_consumer_key" in request.query:
            self._signatures.check(request.method, url, dict(request.query), key=key, secret=secret)
        else:
            self._check_pair(request, key, secret, single=single)
        if request.method not in _READ_METHODS:
            raise unauthorized("The API key provided does not have write permissions.")

    def _check_pair(self, request: web.Request, known_key: str, known_secret: str, *, single: bool) -> None:
        stripped = WooQuirk.STRIPPED_AUTHORIZATION in self._quirks
        key, secret = _given(request, "" if stripped else request.headers.get("Authorization", ""))
        # Blanks around the key are forgiven, in the secret they are not.
        if not key or not secret or not _same(key.strip(), known_key):
            raise cannot_view(single=single)
        if not _same(secret, known_secret):
            raise unauthorized("Consumer secret is invalid.")


def _given(request: web.Request, authorization: str) -> tuple[str, str]:
    if request.scheme != "https":
        return "", ""
    key, secret = request.query.get("consumer_key", ""), request.query.get("consumer_secret", "")
    return (key, secret) if key and secret else _basic(authorization)


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
