"""A shop's credentials: what proves that a feed is the merchant's, and what opens it."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from connector_svc.domain.errors import CredentialsNotFound
from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import Credentials, Secret

WELL_KNOWN: Final = "/.well-known/catalogsync-feed.json"
SHORTEST_SECRET: Final = 32
_PATH: Final = re.compile(r"/[A-Za-z0-9._~/-]{1,1000}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedKeys:
    """What we hold for one shop."""

    secrets: tuple[Secret, ...]
    """Each of them may have signed: two while one replaces the other."""
    token: Secret | None
    """Sent as a bearer token with every request."""
    path: str
    """Of the manifest."""

    def signed(self, text: str, signatures: Sequence[str]) -> bool:
        """Whether one of `signatures` is the hex HMAC-SHA256 of `text` in UTF-8 with one of our secrets."""
        message = text.encode("utf-8", "surrogatepass")
        fits = False
        for secret in self.secrets:
            expected = hmac.new(secret.reveal().encode(), message, hashlib.sha256).hexdigest()
            for given in signatures:
                fits |= hmac.compare_digest(given.encode(), expected.encode())
        return fits


def keys_of(shop: Shop, credentials: Credentials) -> FeedKeys:
    """Raises CredentialsNotFound, naming what is missing or unfit."""
    named = (credentials.get("feed_secret"), credentials.get("feed_secret_previous"))
    secrets = tuple(secret for secret in named if secret is not None)
    if named[0] is None:
        raise CredentialsNotFound(shop, "feed_secret is missing")
    if any(len(secret.reveal()) < SHORTEST_SECRET for secret in secrets):
        raise CredentialsNotFound(shop, f"a feed secret must have {SHORTEST_SECRET} characters or more")
    path = credentials["feed_path"].reveal() if "feed_path" in credentials else WELL_KNOWN
    if not is_plain_path(path):
        raise CredentialsNotFound(shop, "feed_path must be an absolute path of plain characters")
    return FeedKeys(secrets=secrets, token=credentials.get("feed_token"), path=path)


def is_plain_path(path: str) -> bool:
    """Whether `path` is absolute, needs no escaping, and climbs nowhere."""
    return bool(_PATH.fullmatch(path)) and not {".", ".."} & set(path.split("/"))
