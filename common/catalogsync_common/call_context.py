"""The id that joins the log lines of one piece of work across all services.

How long the caller of the call that is being answered will still wait."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final
from uuid import uuid4

CORRELATION_HEADER: Final = "x-correlation-id"

correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")
"""Of the call or job at hand; empty outside of any."""

_WELL_FORMED: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


def new_correlation_id() -> str:
    """A fresh one."""
    return uuid4().hex


def accept_correlation_id(received: str | bytes | None) -> str:
    """`received` when it is well-formed, else a fresh one: what others send ends up in our logs and headers."""
    if isinstance(received, str) and _WELL_FORMED.fullmatch(received):
        return received
    return new_correlation_id()


@contextmanager
def correlated(identifier: str | bytes | None = None) -> Iterator[str]:
    """Sets the correlation id for what runs inside, and yields it; a missing or malformed one is made anew."""
    accepted = accept_correlation_id(identifier)
    token = correlation_id.set(accepted)
    try:
        yield accepted
    finally:
        correlation_id.reset(token)


def outgoing_metadata() -> tuple[tuple[str, str], ...]:
    """Metadata (or HTTP headers) that passes the correlation id on, made anew outside of any call or job."""
    return ((CORRELATION_HEADER, correlation_id.get() or new_correlation_id()),)


_ends_at: Final[ContextVar[float | None]] = ContextVar("call_deadline", default=None)
"""Seconds of the monotonic clock."""


def remaining_seconds() -> float | None:
    """Return the seconds until the caller's deadline, 0 or less when it has passed; None: there is no deadline.

    Tasks that a call starts inherit its deadline: work that outlives the call must not ask.
    """
    ends_at = _ends_at.get()
    return None if ends_at is None else ends_at - time.monotonic()


@contextmanager
def set_deadline(seconds: float | None) -> Iterator[None]:
    """Set the deadline of what runs within the block; None: there is none."""
    token = _ends_at.set(None if seconds is None else time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends_at.reset(token)
