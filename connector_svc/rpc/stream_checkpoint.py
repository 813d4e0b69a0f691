"""The checkpoint of a stream: the platform's, and what the stream itself must remember across a resume."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from connector_svc.domain.errors import CheckpointExpired, CheckpointInvalid
from connector_svc.domain.shop import Shop

_FORMAT = 1


class _Wire(msgspec.Struct, frozen=True, array_like=True):
    format: int
    began: datetime
    platform: bytes
    unsent: int
    unsent_items: int
    sent: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamMark:
    """Where a stream stands."""

    began: datetime
    """The watermark of the pass. The platform's checkpoint knows it too, but there is none before the first
    batch is complete, while parts of that batch may be stored already."""
    platform: bytes = b""
    """The platform's checkpoint; empty: its beginning."""
    unsent: int = 0
    """Products so far that the platform delivered and that no message can carry."""
    unsent_items: int = 0
    """Their variants."""
    sent: frozenset[str] = frozenset()
    """Products behind the platform's checkpoint that were sent nevertheless, in parts of a large batch."""

    def encode(self) -> bytes:
        """For the caller, to whom it is opaque."""
        return msgspec.msgpack.encode(
            _Wire(_FORMAT, self.began, self.platform, self.unsent, self.unsent_items, tuple(sorted(self.sent)))
        )


def decode_mark(shop: Shop, checkpoint: bytes) -> StreamMark | None:
    """The mark that was encoded; None at the beginning. Raises CheckpointInvalid, CheckpointExpired."""
    if not checkpoint:
        return None
    try:
        wire = msgspec.msgpack.decode(checkpoint, type=_Wire)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CheckpointInvalid(shop) from error
    if wire.format != _FORMAT:
        raise CheckpointExpired(shop)
    if wire.began.tzinfo is None or min(wire.unsent, wire.unsent_items) < 0:
        raise CheckpointInvalid(shop)
    return StreamMark(
        began=wire.began,
        platform=wire.platform,
        unsent=wire.unsent,
        unsent_items=wire.unsent_items,
        sent=frozenset(wire.sent),
    )
