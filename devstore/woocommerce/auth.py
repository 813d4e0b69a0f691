"""Who may read: the rules measured on a real store.

OAuth 1.0a as WooCommerce checks it over plain http: with its own address, and each nonce once."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping, Set
from datetime import datetime
from typing import Final
from urllib.parse import quote, unquote

from aiohttp import web

from devstore.spec import ShopSpec
from devstore.woocommerce.errors import RestError, cannot_view, unauthorized
from devstore.woocommerce.quirks import WooQuirk

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


_WINDOW: Final = 15 * 60
_NONCES: Final = 10_000
_NEEDED: Final = (
    "oauth_consumer_key",
    "oauth_timestamp",
    "oauth_nonce",
    "oauth_signature",
    "oauth_signature_method",
)
_HASHES: Final = {"HMAC-SHA1": "sha1", "HMAC-SHA256": "sha256"}


class Signatures:
    """Remembers which nonces were spent."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._spent: OrderedDict[str, None] = OrderedDict()

    def check(self, method: str, url: str, params: Mapping[str, str], *, key: str, secret: str) -> None:
        """Raises RestError unless `params` sign the request for `url`, the address without its query."""
        missing = [name for name in _NEEDED if not params.get(name)]
        if missing:
            text = f"Missing OAuth parameter{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
            raise RestError(401, "woocommerce_rest_authentication_missing_parameter", text)
        if params["oauth_consumer_key"].strip() != key:
            raise unauthorized("Consumer key is invalid.")
        self._check_signature(method, url, params, secret)
        self._check_moment(params)

    def _check_signature(self, method: str, url: str, params: Mapping[str, str], secret: str) -> None:
        algorithm = _HASHES.get(params["oauth_signature_method"])
        if algorithm is None:
            raise unauthorized("Invalid signature - signature method is invalid.")
        rest = {_twice(name): _twice(value) for name, value in params.items() if name != "oauth_signature"}
        query = "%26".join(f"{name}%3D{rest[name]}" for name in sorted(rest))
        text = f"{method}&{quote(url, safe='~')}&{query}"
        ours = base64.b64encode(hmac.digest(f"{secret}&".encode(), text.encode(), algorithm)).decode()
        if not hmac.compare_digest(ours, unquote(params["oauth_signature"].replace(" ", "+"))):
            raise unauthorized("Invalid signature - provided signature does not match.")

    def _check_moment(self, params: Mapping[str, str]) -> None:
        timestamp, nonce = params["oauth_timestamp"], params["oauth_nonce"]
        if not timestamp.isdecimal() or abs(int(timestamp) - self._clock().timestamp()) > _WINDOW:
            raise unauthorized("Invalid timestamp.")
        if nonce in self._spent:
            raise unauthorized("Invalid nonce - nonce has already been used.")
        self._spent[nonce] = None
        if len(self._spent) > _NONCES:
            self._spent.popitem(last=False)


def _twice(text: str) -> str:
    """Encoded, and its percent signs once more, as the platform does both at once."""
    return quote(unquote(text), safe="~").replace("%", "%25")
