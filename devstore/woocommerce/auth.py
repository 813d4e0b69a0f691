"""Authentication as measured on a real store: consumer keys over https, OAuth 1.0a signatures over plain http."""

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
_API_PATHS = ("wp-json/wc/", "wp-json/wc-")


class Authenticator:
    """Checks requests against the only key of a shop, which has read access, or also write access.

    Keys in the query string take precedence over the Basic header. Over plain http both are silently ignored,
    and only OAuth signatures are accepted. Keys are ignored unless the API's path occurs in the request line.
    """

    def __init__(self, spec: ShopSpec, quirks: Set[WooQuirk], clock: Callable[[], datetime]) -> None:
        self._spec = spec
        self._quirks = quirks
        self._signatures = OAuthSignatures(clock)

    def check(self, request: web.Request, *, single: bool, url: str) -> None:
        """Raise RestError, as the platform does, unless the request is authenticated.

        Args:
            request: The request.
            single: Whether the route is a single resource; it decides the wording of the error.
            url: The requested URL without its query, as the store writes its own address; signatures cover it.
        """
        if not any(path in request.raw_path for path in _API_PATHS):
            raise cannot_view(single=single)
        credentials = self._spec.credentials
        key, secret = credentials["consumer_key"], credentials["consumer_secret"]
        if request.scheme != "https" and "oauth_consumer_key" in request.query:
            self._signatures.check(request.method, url, dict(request.query), key=key, secret=secret)
        else:
            self._check_keys(request, key, secret, single=single)
        if request.method not in _READ_METHODS and not self._spec.key_writes:
            raise unauthorized("The API key provided does not have write permissions.")

    def _check_keys(self, request: web.Request, known_key: str, known_secret: str, *, single: bool) -> None:
        stripped = WooQuirk.STRIPPED_AUTHORIZATION in self._quirks
        key, secret = _given_keys(request, "" if stripped else request.headers.get("Authorization", ""))
        # WooCommerce strips blanks around the key, but not around the secret.
        if not key or not secret or not _equal(key.strip(), known_key):
            raise cannot_view(single=single)
        if not _equal(secret, known_secret):
            raise unauthorized("Consumer secret is invalid.")


def _given_keys(request: web.Request, authorization: str) -> tuple[str, str]:
    if request.scheme != "https":
        return "", ""
    key, secret = request.query.get("consumer_key", ""), request.query.get("consumer_secret", "")
    return (key, secret) if key and secret else _basic_auth(authorization)


def _basic_auth(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        key, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return key, secret


def _equal(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode(), known.encode())


_TIMESTAMP_WINDOW_SECONDS: Final = 15 * 60
_REMEMBERED_NONCES: Final = 10_000
_REQUIRED_PARAMS: Final = (
    "oauth_consumer_key",
    "oauth_timestamp",
    "oauth_nonce",
    "oauth_signature",
    "oauth_signature_method",
)
_HASHES: Final = {"HMAC-SHA1": "sha1", "HMAC-SHA256": "sha256"}


class OAuthSignatures:
    """Checks OAuth 1.0a signatures against the store's own address; each nonce is accepted once."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._used_nonces: OrderedDict[str, None] = OrderedDict()

    def check(self, method: str, url: str, params: Mapping[str, str], *, key: str, secret: str) -> None:
        """Raise RestError unless the OAuth parameters are a valid signature of the request.

        Args:
            method: The HTTP method.
            url: The URL without its query.
            params: All query parameters.
            key: The valid consumer key.
            secret: The valid consumer secret.
        """
        missing = [name for name in _REQUIRED_PARAMS if not params.get(name)]
        if missing:
            text = f"Missing OAuth parameter{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
            raise RestError(401, "woocommerce_rest_authentication_missing_parameter", text)
        if params["oauth_consumer_key"].strip() != key:
            raise unauthorized("Consumer key is invalid.")
        self._check_signature(method, url, params, secret)
        self._check_timestamp_and_nonce(params)

    def _check_signature(self, method: str, url: str, params: Mapping[str, str], secret: str) -> None:
        algorithm = _HASHES.get(params["oauth_signature_method"])
        if algorithm is None:
            raise unauthorized("Invalid signature - signature method is invalid.")
        encoded = {
            _double_encode(name): _double_encode(value)
            for name, value in params.items()
            if name != "oauth_signature"
        }
        query = "%26".join(f"{name}%3D{encoded[name]}" for name in sorted(encoded))
        text = f"{method}&{quote(url, safe='~')}&{query}"
        expected = base64.b64encode(hmac.digest(f"{secret}&".encode(), text.encode(), algorithm)).decode()
        if not hmac.compare_digest(expected, unquote(params["oauth_signature"].replace(" ", "+"))):
            raise unauthorized("Invalid signature - provided signature does not match.")

    def _check_timestamp_and_nonce(self, params: Mapping[str, str]) -> None:
        timestamp, nonce = params["oauth_timestamp"], params["oauth_nonce"]
        if (
            not timestamp.isdecimal()
            or abs(int(timestamp) - self._clock().timestamp()) > _TIMESTAMP_WINDOW_SECONDS
        ):
            raise unauthorized("Invalid timestamp.")
        if nonce in self._used_nonces:
            raise unauthorized("Invalid nonce - nonce has already been used.")
        self._used_nonces[nonce] = None
        if len(self._used_nonces) > _REMEMBERED_NONCES:
            self._used_nonces.popitem(last=False)


def _double_encode(text: str) -> str:
    """Percent-encode a text and the percent signs of the result, as the platform does in one step."""
    return quote(unquote(text), safe="~").replace("%", "%25")
