"""OAuth 1.0a as WooCommerce checks it over plain http: with its own address, and each nonce once."""

from __future__ import annotations

import base64
import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final
from urllib.parse import quote, unquote

from devstore.woocommerce.errors import RestError, unauthorized

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
