"""Signs requests with OAuth 1.0a (RFC 5849), one-legged: how WooCommerce lets a key in over plain http.

Neither key nor secret can be read off the wire; whoever listens gets one request that works once.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from yarl import URL


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """What makes each signature another."""

    timestamp: int
    """Seconds since 1970, by the store's clock: it bears 15 minutes of difference."""
    nonce: str
    """Accepted once."""


def signed(
    method: str, url: URL, params: Sequence[tuple[str, str]], *, key: str, secret: str, moment: Moment
) -> Sequence[tuple[str, str]]:
    """The parameters to send beside `params`, none of which is secret. `url` without a query."""
    ours = (
        ("oauth_consumer_key", key),
        ("oauth_nonce", moment.nonce),
        ("oauth_signature_method", "HMAC-SHA256"),
        ("oauth_timestamp", str(moment.timestamp)),
    )
    base = base_string(method, url, (*params, *ours))
    digest = hmac.digest(f"{_encoded(secret)}&".encode(), base.encode(), "sha256")
    return (*ours, ("oauth_signature", base64.b64encode(digest).decode()))


def base_string(method: str, url: URL, params: Sequence[tuple[str, str]]) -> str:
    """What is signed, after section 3.4.1 of the RFC."""
    pairs = sorted((_encoded(name), _encoded(value)) for name, value in params)
    normalized = "&".join(f"{name}={value}" for name, value in pairs)
    return "&".join((method.upper(), _encoded(str(url)), _encoded(normalized)))


def _encoded(text: str) -> str:
    return quote(text, safe="~")
