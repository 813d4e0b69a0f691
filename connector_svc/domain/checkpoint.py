"""Where a pass stands: everything a later call needs to go on, since the connector keeps nothing."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

import msgspec

from connector_svc.domain.errors import CheckpointExpired, CheckpointInvalid
from connector_svc.domain.fetch import FetchRequest

FORMAT = 1
"""Raised when an older connector could not read what this one writes."""


class PassCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What the pass has delivered so far."""

    emitted: int = 0
    """Products in batches."""
    emitted_items: int = 0
    """Variants in batches."""
    rejected: int = 0
    """Products set aside whole."""

    def plus(self, *, emitted: int = 0, emitted_items: int = 0, rejected: int = 0) -> PassCounts:
        """The counts after some more."""
        return PassCounts(
            emitted=self.emitted + emitted,
            emitted_items=self.emitted_items + emitted_items,
            rejected=self.rejected + rejected,
        )


class _Envelope(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    shop: str
    fingerprint: str
    updated_after: datetime | None
    position: msgspec.Raw


PositionT = TypeVar("PositionT", bound=msgspec.Struct)


def encode_checkpoint(request: FetchRequest, *, fingerprint: str, position: msgspec.Struct) -> bytes:
    """The checkpoint of `request` at `position`, the platform's own struct.

    `fingerprint` names what must be the same for the position to have meaning: API version, order, strategy. The
    field list does not belong to it: a deploy that reads one more field must not restart every running pass.
    """
    return msgspec.json.encode(
        _Envelope(
            format=FORMAT,
            shop=str(request.shop),
            fingerprint=fingerprint,
            updated_after=request.updated_after,
            position=msgspec.Raw(msgspec.json.encode(position)),
        )
    )


def decode_checkpoint(
    request: FetchRequest, *, fingerprint: str, position_type: type[PositionT]
) -> PositionT | None:
    """The position to go on from; None when the request starts from the beginning.

    Raises CheckpointInvalid when it is not ours or another shop's, CheckpointExpired when it was made for
    another fingerprint, window or format.
    """
    if not request.checkpoint:
        return None
    try:
        envelope = msgspec.json.decode(request.checkpoint, type=_Envelope)
        if envelope.shop != str(request.shop):
            raise CheckpointInvalid(request.shop)
        same = (envelope.format, envelope.fingerprint, envelope.updated_after)
        if same != (FORMAT, fingerprint, request.updated_after):
            raise CheckpointExpired(request.shop)
        return msgspec.json.decode(envelope.position, type=position_type)
    except msgspec.MsgspecError as error:
        raise CheckpointInvalid(request.shop) from error
