"""The access log: one log line, one metrics update and the outcome of the span per call of a gRPC server."""

from __future__ import annotations

import logging
from time import monotonic
from types import TracebackType
from typing import Final, Protocol
from uuid import uuid4

import grpc
from google.rpc import status_pb2

from catalogsync_common.failure import Failure, LimitExceeded
from catalogsync_common.principal import Principal
from catalogsync_common.rpc_spans import UNTRACED_PREFIXES, ServerCallSpan
from catalogsync_common.status import STATUS_CODES, to_status

LOGGER: Final = logging.getLogger(__name__)


class CallMeter(Protocol):
    """Counts calls."""

    def call_started(self, method: str) -> None:
        """A call of an existing method started."""
        ...

    def call_ended(self, method: str, code: grpc.StatusCode, seconds: float) -> None:
        """The same call ended, whichever side ended it."""
        ...

    def call_refused(self, method: str, limit: str) -> None:
        """The same call exceeded the limit of this kind; `call_ended` follows."""
        ...


class InternalError(Failure):
    """An unexpected exception, which is in the log under the same error_id."""

    def __init__(self) -> None:
        self.error_id = uuid4().hex
        super().__init__(
            f"Internal error {self.error_id}. Please report this id to support.",
            metadata={"error_id": self.error_id},
        )


class AccessLogEntry:
    """The access log entry of one call: a context manager that updates `meter` and `span`, and writes the line, at
    its end.

    An entry never contains a request or response message.
    """

    def __init__(
        self,
        method: str,
        peer: str,
        correlation_id: str,
        meter: CallMeter | None = None,
        span: ServerCallSpan | None = None,
    ) -> None:
        self._method = method
        self._meter = meter
        self._span = span
        self._started = monotonic()
        self._fields: dict[str, object] = {"method": method, "peer": peer, "correlation_id": correlation_id}
        self._code = grpc.StatusCode.OK
        self._unexpected: BaseException | None = None

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the code with which the call ended, by itself or from outside."""
        self._code = code

    def set_principal(self, principal: Principal) -> None:
        """Set who calls."""
        self._fields["principal"] = principal.id

    def set_error(self, error: BaseException) -> status_pb2.Status:
        """Set the error that ended the call, and return the status to send.

        An error that is not a Failure with a known reason becomes an InternalError, which reveals nothing of it.
        """
        if isinstance(error, Failure) and error.reason in STATUS_CODES and error.reason != "INTERNAL":
            failure = error
        else:
            failure = InternalError()
            self._unexpected = error
            self._fields["error_id"] = failure.error_id
        self._code = STATUS_CODES[failure.reason]
        self._fields["reason"] = failure.reason
        if isinstance(failure, LimitExceeded):
            self._fields["limit"] = failure.kind
            if self._meter is not None:
                self._meter.call_refused(self._method, failure.kind)
        return to_status(failure)

    def __enter__(self) -> AccessLogEntry:
        if self._meter is not None:
            self._meter.call_started(self._method)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = monotonic() - self._started
        if self._meter is not None:
            self._meter.call_ended(self._method, self._code, seconds)
        if self._span is not None:
            self._span.set_outcome(self._code, str(self._fields.get("reason", "")))
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
        # Probes call them every few seconds.
        return logging.DEBUG if self._method.startswith(UNTRACED_PREFIXES) else logging.INFO
