"""The checkpoint of a pass: what a later call needs to continue, because the connector itself stores nothing."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

import msgspec

from connector_svc.domain.errors import CheckpointExpired, CheckpointInvalid
from connector_svc.domain.fetch import FetchRequest

FORMAT = 1
"""Version of the envelope. Raise it when an older connector could not read what this one writes."""


class PassCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What the pass has delivered so far, resumes included."""

    emitted: int = 0
    """Products in batches."""
    emitted_items: int = 0
    """Variants in batches."""
    rejected: int = 0
    """Products that were rejected whole."""

    def plus(self, *, emitted: int = 0, emitted_items: int = 0, rejected: int = 0) -> PassCounts:
        """Return the counts increased by the given numbers."""
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
    """Encode the checkpoint of a pass.

    Args:
        request: The request of the pass.
        fingerprint: Names what must stay the same for the position to have a meaning: API version, order,
            strategy. The field list is not part of it: a deployment that reads one more field must not restart
            every running pass.
        position: The platform's own struct.
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
    """Decode the position to continue from.

    Returns:
        The position, or None if the request starts from the beginning.

    Raises:
        CheckpointInvalid: The checkpoint was not made by this connector or belongs to another shop.
        CheckpointExpired: It was made for another fingerprint, window or format.
    """
    if not request.checkpoint:
        return None
    try:
        envelope = msgspec.json.decode(request.checkpoint, type=_Envelope)
        if envelope.shop != str(request.shop):
            raise CheckpointInvalid(request.shop)
        made_for = (envelope.format, envelope.fingerprint, envelope.updated_after)
        if made_for != (FORMAT, fingerprint, request.updated_after):
            raise CheckpointExpired(request.shop)
        return msgspec.json.decode(envelope.position, type=position_type)
    except msgspec.MsgspecError as error:
        raise CheckpointInvalid(request.shop) from error
