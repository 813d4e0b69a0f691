"""Lease ids, opaque to workers: a structure in MessagePack and base64url.

They are not authenticated: whoever may call SubmitResults acts for all shops, and the fence of the task decides.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final
from uuid import UUID

import msgspec

from catalog_svc.domain.analysis import ImageKey, TaskLease

_VERSION: Final = 1
_MAX_CHARACTERS: Final = 512

_Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class _LeaseId(msgspec.Struct, frozen=True, array_like=True):
    version: int
    shop_id: UUID
    analyzer: Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$")]
    image_hash: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    feed_position: _Number
    epoch: _Number


def encode_lease(lease: TaskLease) -> str:
    """Return the id of a lease, about 100 characters."""
    encoded = msgspec.msgpack.encode(
        _LeaseId(
            _VERSION,
            lease.shop_id,
            lease.image.analyzer,
            lease.image.image_hash,
            lease.feed_position,
            lease.epoch,
        )
    )
    return base64.urlsafe_b64encode(encoded).decode().rstrip("=")


def decode_lease(text: str) -> TaskLease | None:
    """Return the lease of an id; None if it is not one of this service."""
    try:
        if not 0 < len(text) <= _MAX_CHARACTERS:
            return None
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        decoded = msgspec.msgpack.decode(raw, type=_LeaseId)
    except (binascii.Error, ValueError, RecursionError, msgspec.MsgspecError):
        return None
    if decoded.version != _VERSION:
        return None
    return TaskLease(
        shop_id=decoded.shop_id,
        image=ImageKey(analyzer=decoded.analyzer, image_hash=decoded.image_hash),
        feed_position=decoded.feed_position,
        epoch=decoded.epoch,
    )
