"""Failure, the base class of all errors that a caller is told about.

Pure Python, so that domain packages can define their failures without importing gRPC; `catalogsync_common.status`
maps them to gRPC statuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldViolation:
    """An invalid field of a request."""

    field: str
    """Path in the request, as in the proto: "shop.domain"."""
    description: str
    """What is expected, for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resource:
    """The resource that an error is about."""

    type: str
    """"catalogsync.catalog.v1.Sync"."""
    name: str


class Failure(Exception):
    """An expected error with a stable reason.

    Subclasses set `reason` (a name of `catalogsync.errors.v1.ErrorReason` without prefix) and build the message.
    The message is sent to callers, after the reason: it must be understandable without the details, and contain no
    secret, driver text or internal host.
    """

    reason: str = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after: timedelta | None = None,
        violations: tuple[FieldViolation, ...] = (),
        resource: Resource | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.retry_after = retry_after
        """When to call again; None: the default of the reason."""
        self.violations = violations
        self.resource = resource


class InvalidRequest(Failure):
    """Fields of a request are invalid; the caller must change them."""

    reason = "INVALID_REQUEST"

    def __init__(self, *violations: FieldViolation) -> None:
        text = "; ".join(f"{v.field}: {v.description}" for v in violations[:3])
        more = f" (and {len(violations) - 3} more)" if len(violations) > 3 else ""
        super().__init__(f"{text}{more}", violations=violations)

    @classmethod
    def of(cls, field: str, description: str) -> InvalidRequest:
        """Return the failure for a single invalid field."""
        return cls(FieldViolation(field=field, description=description))


class LimitExceeded(Failure):
    """A caller exceeded a limit of this server; the metrics count it as `kind`."""

    reason = "RATE_LIMITED"

    def __init__(self, message: str, *, kind: str, limit: str, retry_after: timedelta | None = None) -> None:
        """Create the failure.

        Args:
            message: for people.
            kind: a stable name of the limit, such as "shop".
            limit: its value.
            retry_after: when to call again; None: the default of the reason.
        """
        super().__init__(message, metadata={"limit_kind": kind, "limit": limit}, retry_after=retry_after)
        self.kind = kind
