"""Positions of feeds, opaque to clients: a structure in MessagePack and base64url.

They are not authenticated, unlike page tokens: a position must stay readable after a restore into another
database, to be answered with POSITION_EXPIRED. So a decoded position is validated as strictly as the fields of a
request.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final, Protocol, TypeVar

import msgspec
from catalogsync_common.failure import InvalidRequest

_FIELD: Final = "after_position"
_MAX_CHARACTERS: Final = 2_048
"""A position holds an id of up to 255 characters, in base64."""


class Versioned(Protocol):
    """The structure of a position."""

    @property
    def version(self) -> int:
        """Of the format."""
        ...


V = TypeVar("V", bound=Versioned)


def pack(position: Versioned) -> str:
    """Return a position as text."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(position)).decode().rstrip("=")


def unpack(text: str, *, kind: type[V], version: int, methods: str) -> V | None:
    """Return the position of a request; None if it is empty.

    Args:
        text: The value of the field `after_position`.
        kind: The structure.
        version: The version of its format.
        methods: The methods that return such positions, for the failure.

    Raises:
        InvalidRequest: It is not such a position.
    """
    if not text:
        return None
    try:
        if len(text) > _MAX_CHARACTERS:
            raise ValueError("too long")
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        decoded = msgspec.msgpack.decode(raw, type=kind)
    except (binascii.Error, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidRequest.of(_FIELD, f"is not a position of {methods}") from error
    if decoded.version != version:
        raise InvalidRequest.of(_FIELD, "is from another release: start with an empty position")
    return decoded
