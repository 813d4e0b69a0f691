"""The errors of calls and streams: one class for each reason.

CatalogSyncError
├── ServiceUnavailable       the service is unreachable or did not answer properly
│   ├── ConnectionFailed     the connection cannot be made with these TLS settings
│   └── CallTimedOut         no answer within the time limit
├── TokenUnavailable         the token provider failed
├── UnexpectedError          an error without a reason of catalogsync, such as one of a proxy
└── one class per reason     SyncNotFound, SyncAlreadyRunning, ...; see `reasons`
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

import grpc
from catalogsync_common.failure import FieldViolation
from catalogsync_common.status import ReceivedFailure

from catalogsync_client.connection_errors import NEXT_STEPS


class CatalogSyncError(Exception):
    """A call or stream that ended with an error. The message is understandable without its details.

    Catch a subclass for one reason, or this class for all of them. A release of the service may send reasons that
    this client does not know: they arrive as UnexpectedError with `reason` set.
    """

    what_to_do: ClassVar[str] = ""
    """What a caller should do about it, one sentence; "" if the message is enough."""

    def __init__(self, failure: ReceivedFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure

    @property
    def reason(self) -> str:
        """The stable reason, such as "SYNC_NOT_FOUND"; "" if the error is not from a service of catalogsync."""
        return self.failure.reason

    @property
    def code(self) -> grpc.StatusCode:
        """The status code."""
        return self.failure.code

    @property
    def message(self) -> str:
        """The text for people, without the reason."""
        return self.failure.message

    @property
    def metadata(self) -> Mapping[str, str]:
        """Values by name, such as "sync_id"; which ones a reason has is part of the contract."""
        return self.failure.metadata

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """The invalid fields of the request."""
        return self.failure.violations

    @property
    def retry_after(self) -> timedelta | None:
        """When to call again; None: the server did not say so."""
        return self.failure.retry_after

    @property
    def is_transient(self) -> bool:
        """Whether the same call is likely to succeed later."""
        return self.failure.is_transient


class ServiceUnavailable(CatalogSyncError):
    """The service cannot be reached, or the connection broke."""

    what_to_do = "Check that the service runs and that the address is right, then call again."


class ConnectionFailed(ServiceUnavailable):
    """The connection cannot be made with these TLS settings; `reason` says why, such as "CERTIFICATE_EXPIRED"."""

    @property
    def next_step(self) -> str:
        """What to do about it."""
        return NEXT_STEPS[self.reason]


class CallTimedOut(ServiceUnavailable):
    """The service did not answer within the time limit of the call."""

    what_to_do = "Call again, or raise the time limit."


class TokenUnavailable(CatalogSyncError):
    """The token provider of this client raised an error, which is the cause of this one."""

    what_to_do = "Look at the cause."

    @classmethod
    def because_of(cls, error: Exception) -> TokenUnavailable:
        """Return the error; its message has the type of the cause alone, since the text may contain the token."""
        message = f"the token provider failed: {type(error).__name__}"
        return cls(ReceivedFailure(code=grpc.StatusCode.UNAVAILABLE, message=message))


class UnexpectedError(CatalogSyncError):
    """An error with an unknown reason, or without one."""
