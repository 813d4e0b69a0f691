"""What a caller is told who is not authenticated, or may not call a method.

The messages say what to do, and never which part of a credential was wrong: neither a key id nor a claim that was
received is repeated.
"""

from __future__ import annotations

from collections.abc import Iterable

from catalogsync_common.failure import Failure


class Unauthenticated(Failure):
    """The credentials are missing or invalid."""

    reason = "UNAUTHENTICATED"


class TokenExpired(Failure):
    """The token has expired, before the call or during its stream."""

    reason = "TOKEN_EXPIRED"

    def __init__(self) -> None:
        super().__init__("The token has expired. Call again with a fresh one.")


class PermissionDenied(Failure):
    """The caller is authenticated, and may not call this method."""

    reason = "PERMISSION_DENIED"

    @classmethod
    def of_kind(cls, kinds: Iterable[str]) -> PermissionDenied:
        """Return the failure of a principal of another kind than these."""
        allowed = ", ".join(kinds) or "no kind of caller"
        return cls(f"This method may be called by: {allowed}.", metadata={"principals": allowed})

    @classmethod
    def of_scope(cls, scope: str) -> PermissionDenied:
        """Return the failure of a token without this scope."""
        return cls(f"The token lacks the scope {scope}.", metadata={"scope": scope})
