"""Where a pass over a feed stands, as its checkpoint keeps it."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from connector_svc.domain.checkpoint import PassCounts
from connector_svc.platforms.feed.wire import FORMAT, FeedFile

FINGERPRINT: Final = FORMAT
"""Of passes whose positions mean the same."""


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a later call needs to go on, also when a newer manifest stands in the old one's place."""

    file: FeedFile
    """As a manifest that we trusted named it."""
    delta: bool
    generated_at: datetime
    """The manifest's; the watermark of the pass."""
    currency: str
    records: int = 0
    """How many records of the file were delivered."""
    counts: PassCounts = PassCounts()
