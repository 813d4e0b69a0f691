"""The context of the current call or job: its correlation id, and the deadline of the caller."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final
from uuid import uuid4

CORRELATION_HEADER: Final = "x-correlation-id"
SERVER_TIME_HEADER: Final = "x-server-time"
"""Trailing metadata of every answer: the time by the clock of the server (RFC 3339), so that `catalogsync
doctor` can compare clocks."""

correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")
"""The id that joins the log lines of one call or job across all services; empty outside of both."""

_WELL_FORMED: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


def new_correlation_id() -> str:
    """Return a new correlation id."""
    return uuid4().hex


def accept_correlation_id(received: str | bytes | None) -> str:
    """Return `received` if it is well-formed, else a new id: a received id is written to our logs and headers."""
    if isinstance(received, str) and _WELL_FORMED.fullmatch(received):
        return received
    return new_correlation_id()


@contextmanager
def correlated(identifier: str | bytes | None = None) -> Iterator[str]:
    """Set the correlation id within the block and yield it; replace a missing or malformed one by a new one."""
    accepted = accept_correlation_id(identifier)
    token = correlation_id.set(accepted)
    try:
        yield accepted
    finally:
        correlation_id.reset(token)


def outgoing_metadata() -> tuple[tuple[str, str], ...]:
    """Return metadata (or HTTP headers) that pass on the correlation id; a new one outside of any call or job."""
    return ((CORRELATION_HEADER, correlation_id.get() or new_correlation_id()),)


_deadline: Final[ContextVar[float | None]] = ContextVar("call_deadline", default=None)
"""Deadline of the caller, in seconds of the monotonic clock."""


def remaining_seconds() -> float | None:
    """Return the seconds until the caller's deadline, 0 or less when it has passed; None: there is no deadline.

    Tasks started by a call inherit its deadline: work that outlives the call must not use it.
    """
    deadline = _deadline.get()
    return None if deadline is None else deadline - time.monotonic()


def outgoing_timeout(seconds: float) -> float:
    """Return the time limit of a call on behalf of the current one: `seconds`, or the remaining time if less."""
    remaining = remaining_seconds()
    return seconds if remaining is None else max(0.0, min(seconds, remaining))


@contextmanager
def set_deadline(seconds: float | None) -> Iterator[None]:
    """Set the deadline within the block to `seconds` from now; None: there is none."""
    token = _deadline.set(None if seconds is None else time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)
