"""Opaque page tokens: where the last page ended, bound to the filters of its list.

Tokens are not secret and not signed: anybody can write one. What is decoded is therefore checked as strictly as a
request's own fields, so that a forged token can do no more than read a page from another place of the same list.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec
from catalogsync_common.failure import InvalidRequest

P = TypeVar("P", bound=tuple[Any, ...])

PositionText = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00]*\Z")]
"""A platform's id within a position: what PostgreSQL's text can hold."""
PositionNumber = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A number within a position: what PostgreSQL's bigint can hold."""

_VERSION: Final = 1
"""Of the tokens' form. A token of another version is refused, and its client starts at the first page again."""


class _Token(msgspec.Struct, frozen=True, array_like=True):
    version: int
    fingerprint: str
    position: msgspec.Raw


def encode(position: tuple[object, ...], *, filters: Mapping[str, object]) -> str:
    """Return a token that goes on after `position`, valid with the same `filters` only, by name and value."""
    token = _Token(_VERSION, _fingerprint(filters), msgspec.Raw(msgspec.json.encode(position)))
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")


def decode(token: str, *, filters: Mapping[str, object], kind: type[P]) -> P | None:
    """Return the position, a tuple of type `kind`; None for the first page.

    Raises InvalidRequest for page_token.
    """
    if not token:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        decoded = msgspec.json.decode(raw, type=_Token)
        position: P = msgspec.json.decode(decoded.position, type=kind)
    except (binascii.Error, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidRequest.of("page_token", "is not a token of this list") from error
    if decoded.version != _VERSION:
        raise InvalidRequest.of("page_token", "is of another release: start at the first page")
    if decoded.fingerprint != _fingerprint(filters):
        raise InvalidRequest.of("page_token", "belongs to a list with other filters")
    return position


def _fingerprint(filters: Mapping[str, object]) -> str:
    """Of names and values in the order of names: two releases that know the same filters agree on it."""
    encoded = msgspec.json.encode(filters, order="deterministic")
    return hashlib.blake2b(encoded, digest_size=8).hexdigest()
