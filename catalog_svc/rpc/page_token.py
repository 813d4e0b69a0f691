"""Opaque page tokens: the position where the last page ended, bound to the filters of its list.

Tokens are neither secret nor signed: anybody can write one. A decoded token is therefore validated as strictly as
the fields of a request, so that a forged token can do no more than read a page at another position of the same
list.
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
"""A platform's id within a position, as PostgreSQL's text can hold it: without NUL."""
PositionNumber = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A number within a position, as PostgreSQL's bigint can hold it."""

_VERSION: Final = 1
"""Version of the token format. A token of another version is rejected; its client restarts at the first page."""


class _Token(msgspec.Struct, frozen=True, array_like=True):
    version: int
    fingerprint: str
    position: msgspec.Raw


def encode(position: tuple[object, ...], *, filters: Mapping[str, object]) -> str:
    """Return the token of the page after `position`; it is valid only for the same `filters`, names and values."""
    token = _Token(_VERSION, _fingerprint(filters), msgspec.Raw(msgspec.json.encode(position)))
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")


def decode(token: str, *, filters: Mapping[str, object], kind: type[P]) -> P | None:
    """Return the position of a token.

    Args:
        token: From the request; empty for the first page.
        filters: Filters of the list, by name and value.
        kind: Type of the position, a tuple.

    Returns:
        The position; None for the first page.

    Raises:
        InvalidRequest: The token is malformed, of another version, or of a list with other filters.
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
        raise InvalidRequest.of("page_token", "is from another release: start at the first page")
    if decoded.fingerprint != _fingerprint(filters):
        raise InvalidRequest.of("page_token", "belongs to a list with other filters")
    return position


def _fingerprint(filters: Mapping[str, object]) -> str:
    """Hash of names and values, in the order of names: two releases with the same filters get the same hash."""
    encoded = msgspec.json.encode(filters, order="deterministic")
    return hashlib.blake2b(encoded, digest_size=8).hexdigest()
