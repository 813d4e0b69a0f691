"""The principal of the current call: who calls, and on behalf of what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final


class PrincipalKind(Enum):
    """The kinds of principals."""

    CLIENT = "client"
    """A merchant's client, with a token for one shop domain or one merchant."""
    SERVICE = "service"
    """A service of ours or of the operator's, with a service secret; acts for all shops."""
    OPERATOR = "operator"
    """A person who runs the system, with an operator token; acts for all shops."""
    SYSTEM = "system"
    """The process itself: background loops, and every caller while authentication is off."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """An authenticated caller. It contains no secret."""

    kind: PrincipalKind
    name: str
    """The domain or merchant of a client; the name of a service or an operator."""
    scopes: frozenset[str] = frozenset()
    domain: str = ""
    """Of a client: the host name of its shops, in lower case; empty if it is a merchant's client."""
    merchant_id: str = ""
    """Of a client: the merchant whose shops are its own; empty if it is the client of a domain."""
    expires_at: datetime | None = None
    """When its token expires; None: never."""

    @property
    def id(self) -> str:
        """A stable identifier, such as "client:demo.myshopify.com"; empty for the system."""
        return "" if self.kind is PrincipalKind.SYSTEM else f"{self.kind.value}:{self.name}"


SYSTEM: Final = Principal(kind=PrincipalKind.SYSTEM, name="")
"""The principal of background work, and of every call while authentication is off."""

_current: Final[ContextVar[Principal]] = ContextVar("principal", default=SYSTEM)


def current_principal() -> Principal:
    """Return the principal of the current call; `SYSTEM` outside of calls."""
    return _current.get()


@contextmanager
def acting_as(principal: Principal) -> Iterator[None]:
    """Set the current principal within the block."""
    token = _current.set(principal)
    try:
        yield
    finally:
        _current.reset(token)
