"""Page tokens: the position where the last page ended, bound to the filters of its list and authenticated.

Tokens are opaque to clients and valid for all replicas, which share the key through the database. They cannot be
forged without the key; even so, a decoded token is validated as strictly as the fields of a request.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec
from catalogsync_common.failure import InvalidRequest

P = TypeVar("P", bound=tuple[Any, ...])

PositionText = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00]*\Z")]
"""A platform's id within a position, as PostgreSQL's text can hold it: without NUL."""
PositionNumber = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A number within a position, as PostgreSQL's bigint can hold it."""

_VERSION: Final = 2
"""Version of the token format. A token of another version is rejected; its client restarts at the first page."""
_MIN_KEY_BYTES: Final = 32
_MAC_BYTES: Final = 16
_MAX_TOKEN_CHARACTERS: Final = 8_192
"""A token holds up to two ids of 255 characters, in JSON and base64."""


class _Token(msgspec.Struct, frozen=True, array_like=True):
    version: int
    fingerprint: str
    position: msgspec.Raw


class PageTokens:
    """Encodes and decodes the page tokens of all lists."""

    def __init__(self, key: bytes) -> None:
        """Create the codec.

        Args:
            key: The secret key, at least 32 bytes; all replicas have the same one.
        """
        if len(key) < _MIN_KEY_BYTES:
            raise ValueError(f"the key of page tokens must have at least {_MIN_KEY_BYTES} bytes")
        self._key = key

    def encode(self, position: tuple[object, ...], *, filters: Mapping[str, object]) -> str:
        """Return the token of the page after `position`; it is valid only for the same `filters`."""
        token = msgspec.json.encode(
            _Token(_VERSION, _fingerprint(filters), msgspec.Raw(msgspec.json.encode(position)))
        )
        return base64.urlsafe_b64encode(self._mac(token) + token).decode().rstrip("=")

    def decode(self, token: str, *, filters: Mapping[str, object], kind: type[P]) -> P | None:
        """Return the position of a token.

        Args:
            token: From the request; empty for the first page.
            filters: Filters of the list, by name and value.
            kind: Type of the position, a tuple.

        Returns:
            The position; None for the first page.

        Raises:
            InvalidRequest: The token is not one of ours, is of another version, or of a list with other filters.
        """
        if not token:
            return None
        try:
            decoded = msgspec.json.decode(self._authenticated(token), type=_Token)
            position: P = msgspec.json.decode(decoded.position, type=kind)
        except (binascii.Error, ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise InvalidRequest.of(
                "page_token", "is not a token of this list: start at the first page"
            ) from error
        if decoded.version != _VERSION:
            raise InvalidRequest.of("page_token", "is from another release: start at the first page")
        if decoded.fingerprint != _fingerprint(filters):
            raise InvalidRequest.of("page_token", "belongs to a list with other filters")
        return position

    def _authenticated(self, token: str) -> bytes:
        """Return the encoded token within its text. Raises ValueError."""
        if len(token) > _MAX_TOKEN_CHARACTERS:
            raise ValueError("too long")
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        mac, encoded = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(encoded)):
            raise ValueError("not authentic")
        return encoded

    def _mac(self, encoded: bytes) -> bytes:
        return hashlib.blake2b(
            encoded, key=self._key[: hashlib.blake2b.MAX_KEY_SIZE], digest_size=_MAC_BYTES
        ).digest()


def _fingerprint(filters: Mapping[str, object]) -> str:
    """Hash of names and values, in the order of names: two releases with the same filters get the same hash."""
    encoded = msgspec.json.encode(filters, order="deterministic")
    return hashlib.blake2b(encoded, digest_size=8).hexdigest()
