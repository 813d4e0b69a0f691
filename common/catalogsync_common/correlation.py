"""The id that joins the log lines of one piece of work across all services."""

from __future__ import annotations

import re
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
