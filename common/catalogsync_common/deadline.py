"""How long the caller of the call that is being answered will still wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_ends_at: Final[ContextVar[float | None]] = ContextVar("call_deadline", default=None)
"""Seconds of the monotonic clock."""


def remaining_seconds() -> float | None:
    """Return the seconds until the caller's deadline, 0 or less when it has passed; None: there is no deadline.

    Tasks that a call starts inherit its deadline: work that outlives the call must not ask.
    """
    ends_at = _ends_at.get()
    return None if ends_at is None else ends_at - time.monotonic()


@contextmanager
def deadline_in(seconds: float | None) -> Iterator[None]:
    """Set the deadline of what runs within the block; None: there is none."""
    token = _ends_at.set(None if seconds is None else time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends_at.reset(token)
