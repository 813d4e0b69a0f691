"""Fake secrets, and the search for them in everything that the services put out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

_FRAGMENT_CHARACTERS: Final = 12


@dataclass(frozen=True, slots=True)
class FakeSecret:
    """A secret of its own shape: no pattern of the log redaction knows it, so that a hit is not hidden by it."""

    name: str

    @property
    def core(self) -> str:
        """The part that no escaping changes."""
        digest = hashlib.sha256(f"catalogsync canary {self.name}".encode()).digest()
        return base64.b32encode(digest)[:40].decode().lower()

    @property
    def value(self) -> str:
        """The secret, with characters that URLs, JSON, forms and shells write differently."""
        return f"{self.core}+/=&\"'%"

    def needles(self) -> Iterator[bytes]:
        """Yield what must not be found: two fragments of the secret, in every encoding that is used around here.

        A fragment has neither a character that URLs or JSON escape, nor one that is cut off where an output is
        shortened.
        """
        for begin in (0, _FRAGMENT_CHARACTERS):
            fragment = self.core[begin : begin + _FRAGMENT_CHARACTERS].encode()
            yield from (fragment, fragment.upper(), fragment.hex().encode(), fragment[::-1])
            for alignment in range(3):
                # The first and last characters depend on what stands beside the fragment.
                encoded = base64.b64encode(b"\0" * alignment + fragment)
                yield encoded[4 if alignment else 0 : len(encoded) // 4 * 4 - 4]

    def written(self) -> Mapping[str, str]:
        """Return the whole secret as others write it, for the test of `needles`."""
        return {
            "plain": self.value,
            "URL-encoded": quote(self.value, safe=""),
            "JSON": self.value.replace('"', '\\"').replace("/", "\\/"),
            "Basic": base64.b64encode(f"user:{self.value}".encode()).decode(),
            "base64": base64.b64encode(self.value.encode()).decode(),
            "base64url": base64.urlsafe_b64encode(f"k={self.value}".encode()).decode(),
            "hex": self.value.encode().hex(),
            "shortened": self.value[:20],
        }


SHOPIFY_TOKEN: Final = FakeSecret("Shopify access token")
SHOPIFY_CLIENT_ID: Final = FakeSecret("Shopify client id")
SHOPIFY_CLIENT_SECRET: Final = FakeSecret("Shopify client secret")
SHOPIFY_REFRESH_TOKEN: Final = FakeSecret("Shopify refresh token")
WOO_KEY: Final = FakeSecret("WooCommerce consumer key")
WOO_SECRET: Final = FakeSecret("WooCommerce consumer secret")
BIGCOMMERCE_TOKEN: Final = FakeSecret("BigCommerce access token")
WEBHOOK_SECRET: Final = FakeSecret("webhook secret")
FEED_SECRET: Final = FakeSecret("feed secret")
FEED_TOKEN: Final = FakeSecret("feed token")
SERVED_KEY: Final = FakeSecret("WooCommerce key that the Token Service serves")
SERVED_SECRET: Final = FakeSecret("WooCommerce secret that the Token Service serves")
TOKEN_SERVICE_SECRET: Final = FakeSecret("Token Service secret")
DATABASE_PASSWORD: Final = FakeSecret("database password")
WRONG_PASSWORD: Final = FakeSecret("wrong database password")
CLIENT_KEY: Final = FakeSecret("client key")
OPERATOR_KEY: Final = FakeSecret("operator key")
CATALOG_SECRET: Final = FakeSecret("service secret of catalog_svc's callers")
CONNECTOR_SECRET: Final = FakeSecret("service secret of connector_svc's callers")


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretSetting:
    """A secret in an environment variable. A new one needs one line in SECRET_SETTINGS."""

    service: str
    """"catalog" or "connector"."""
    variable: str
    secret: FakeSecret
    form: str = "{}"
    """What surrounds the secret: "name:{}"."""

    @property
    def value(self) -> str:
        """The value of the variable."""
        return self.form.format(self.secret.value)


SECRET_SETTINGS: Final = (
    SecretSetting(service="connector", variable="CONNECTOR_TOKEN_SERVICE_SECRET", secret=TOKEN_SERVICE_SECRET),
    SecretSetting(
        service="connector", variable="CONNECTOR_SERVICE_SECRETS", secret=CONNECTOR_SECRET, form="caller:{}"
    ),
    SecretSetting(service="catalog", variable="CATALOG_SERVICE_SECRETS", secret=CATALOG_SECRET, form="caller:{}"),
    SecretSetting(
        service="catalog", variable="CATALOG_CONNECTOR_SECRET", secret=CONNECTOR_SECRET, form="caller:{}"
    ),
    SecretSetting(service="catalog", variable="CATALOG_CLIENT_KEYS", secret=CLIENT_KEY, form="c1:{}"),
    SecretSetting(service="catalog", variable="CATALOG_OPERATOR_KEYS", secret=OPERATOR_KEY, form="o1:{}"),
)
"""Secrets that are simply given to a service; CATALOG_DATABASE_URL is built by the test."""

SECRETS: Final = (
    SHOPIFY_TOKEN,
    SHOPIFY_CLIENT_ID,
    SHOPIFY_CLIENT_SECRET,
    SHOPIFY_REFRESH_TOKEN,
    WOO_KEY,
    WOO_SECRET,
    BIGCOMMERCE_TOKEN,
    WEBHOOK_SECRET,
    FEED_SECRET,
    FEED_TOKEN,
    SERVED_KEY,
    SERVED_SECRET,
    DATABASE_PASSWORD,
    WRONG_PASSWORD,
    *dict.fromkeys(setting.secret for setting in SECRET_SETTINGS),
)

NOT_SENT_TO_SHOPS: Final = (
    # Only to a shop whose webhooks can be listed.
    WEBHOOK_SECRET,
    DATABASE_PASSWORD,
    WRONG_PASSWORD,
    FEED_SECRET,
    CLIENT_KEY,
    OPERATOR_KEY,
    CATALOG_SECRET,
    CONNECTOR_SECRET,
)


def settings_of(service: str) -> dict[str, str]:
    """Return the variables of SECRET_SETTINGS for one service."""
    return {one.variable: one.value for one in SECRET_SETTINGS if one.service == service}


def leaks(outputs: Mapping[str, bytes]) -> list[str]:
    """Return where which secret was found, with what stands around it."""
    found: list[str] = []
    for source, content in outputs.items():
        for secret in SECRETS:
            at = next((at for needle in secret.needles() if (at := content.find(needle)) >= 0), None)
            if at is not None:
                found.append(f"{secret.name} in {source}: {content[max(0, at - 150) : at + 60]!r}")
    return found
