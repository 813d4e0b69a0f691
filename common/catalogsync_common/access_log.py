"""The one log line of a call."""

from __future__ import annotations

import logging
from time import monotonic
from types import TracebackType
from typing import Final, Protocol
from uuid import uuid4

import grpc
from google.rpc import status_pb2

from catalogsync_common.failure import Failure
from catalogsync_common.status import STATUS_CODES, to_status

LOGGER: Final = logging.getLogger("catalogsync_common.calls")

_QUIET: Final = ("/grpc.health.", "/grpc.reflection.")
"""Probes come every few seconds; their lines are for DEBUG, unless something broke."""


class CallMeter(Protocol):
    """Counts calls."""

    def began(self, method: str) -> None:
        """A call of a method that exists."""
        ...

    def ended(self, method: str, code: grpc.StatusCode, seconds: float) -> None:
        """The same call is over, whoever ended it."""
        ...


class InternalError(Failure):
    """Something that nobody foresaw; what it was is in the log, under the same error_id."""

    def __init__(self) -> None:
        self.error_id = uuid4().hex
        super().__init__(
            f"Internal error {self.error_id}. This is for us to repair; tell support this id.",
            metadata={"error_id": self.error_id},
        )


class AccessLogEntry:
    """Learns how a call ended; tells `meter` and writes its line on leaving the context. Never holds a message of
    the call."""

    def __init__(self, method: str, peer: str, correlation_id: str, meter: CallMeter | None = None) -> None:
        self._method = method
        self._meter = meter
        self._started = monotonic()
        self._fields: dict[str, object] = {"method": method, "peer": peer, "correlation_id": correlation_id}
        self._code = grpc.StatusCode.OK
        self._unexpected: BaseException | None = None

    def ended(self, code: grpc.StatusCode) -> None:
        """The call ended with a code that it chose itself, or that was chosen for it."""
        self._code = code

    def failed(self, error: BaseException) -> status_pb2.Status:
        """The status to send for an error; what is not a failure of a known reason tells nothing of itself."""
        if isinstance(error, Failure) and error.reason in STATUS_CODES and error.reason != "INTERNAL":
            failure = error
        else:
            failure = InternalError()
            self._unexpected = error
            self._fields["error_id"] = failure.error_id
        self._code = STATUS_CODES[failure.reason]
        self._fields["reason"] = failure.reason
        return to_status(failure)

    def __enter__(self) -> AccessLogEntry:
        if self._meter is not None:
            self._meter.began(self._method)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = monotonic() - self._started
        if self._meter is not None:
            self._meter.ended(self._method, self._code, seconds)
        LOGGER.log(
            self._level(),
            "%s %s",
            self._method,
            self._code.name,
            exc_info=self._unexpected,
            extra={**self._fields, "code": self._code.name, "duration_ms": round(seconds * 1000, 1)},
        )

    def _level(self) -> int:
        if self._unexpected is not None:
            return logging.ERROR
        return logging.DEBUG if self._method.startswith(_QUIET) else logging.INFO
