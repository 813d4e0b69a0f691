"""Opaque page tokens: where the last page ended, bound to the filters of its list."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any, TypeVar

import msgspec

from servicekit.failure import InvalidRequest

P = TypeVar("P", bound=tuple[Any, ...])


class _Token(msgspec.Struct, frozen=True, array_like=True):
    fingerprint: str
    position: msgspec.Raw


def encode(position: tuple[object, ...], *, filters: object) -> str:
    """A token that goes on after `position`, valid with the same `filters` only."""
    token = _Token(_fingerprint(filters), msgspec.Raw(msgspec.json.encode(position)))
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")


def decode(token: str, *, filters: object, kind: type[P]) -> P | None:
    """The position, a tuple of type `kind`; None for the first page. Raises InvalidRequest for page_token."""
    if not token:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        decoded = msgspec.json.decode(raw, type=_Token)
        position: P = msgspec.json.decode(decoded.position, type=kind)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise InvalidRequest.of("page_token", "is not a token of ours") from error
    if decoded.fingerprint != _fingerprint(filters):
        raise InvalidRequest.of("page_token", "belongs to a list with other filters")
    return position


def _fingerprint(filters: object) -> str:
    return hashlib.blake2b(repr(filters).encode(), digest_size=8).hexdigest()
