"""Times as messages: exactly, and at a fraction of the cost of `Timestamp.FromDatetime`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def fill_time(out: Timestamp, moment: datetime) -> None:
    """Fill `out` with an aware time."""
    since_epoch = moment - _EPOCH
    out.seconds = since_epoch.days * 86_400 + since_epoch.seconds
    if since_epoch.microseconds:
        out.nanos = since_epoch.microseconds * 1_000


def to_timestamp(moment: datetime | None) -> Timestamp | None:
    """Convert an aware time; None stays None."""
    if moment is None:
        return None
    out = Timestamp()
    fill_time(out, moment)
    return out
