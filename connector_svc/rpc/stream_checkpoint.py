"""The checkpoint of a stream: the platform's checkpoint, and what the stream itself must know after a resume."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from connector_svc.domain.errors import CheckpointExpired, CheckpointInvalid
from connector_svc.domain.shop import Shop

_FORMAT = 1


class _Wire(msgspec.Struct, frozen=True, array_like=True):
    format: int
    watermark: datetime
    platform: bytes
    unsendable: int
    unsendable_items: int
    sent: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamCheckpoint:
    """The position of a stream."""

    watermark: datetime
    """Of the pass. The platform's checkpoint holds it too, but there is none before the first batch is complete,
    while parts of that batch may be stored already."""
    platform: bytes = b""
    """The platform's checkpoint; empty: the beginning of the pass."""
    unsendable: int = 0
    """Products so far that the platform delivered and that no message can carry."""
    unsendable_items: int = 0
    """Their variants."""
    sent: frozenset[str] = frozenset()
    """Ids of products after the platform's checkpoint that were already sent, in parts of a large batch."""

    def encode(self) -> bytes:
        """Encode the checkpoint for the caller, to whom it is opaque."""
        return msgspec.msgpack.encode(
            _Wire(
                _FORMAT,
                self.watermark,
                self.platform,
                self.unsendable,
                self.unsendable_items,
                tuple(sorted(self.sent)),
            )
        )


def decode_stream_checkpoint(shop: Shop, checkpoint: bytes) -> StreamCheckpoint | None:
    """Decode a checkpoint; return None for an empty one, at the beginning.

    Raises:
        CheckpointInvalid: It was not made by `StreamCheckpoint.encode`.
        CheckpointExpired: It has another format.
    """
    if not checkpoint:
        return None
    try:
        wire = msgspec.msgpack.decode(checkpoint, type=_Wire)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CheckpointInvalid(shop) from error
    if wire.format != _FORMAT:
        raise CheckpointExpired(shop)
    if wire.watermark.tzinfo is None or min(wire.unsendable, wire.unsendable_items) < 0:
        raise CheckpointInvalid(shop)
    return StreamCheckpoint(
        watermark=wire.watermark,
        platform=wire.platform,
        unsendable=wire.unsendable,
        unsendable_items=wire.unsendable_items,
        sent=frozenset(wire.sent),
    )
