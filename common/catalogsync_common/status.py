"""Maps failures to gRPC statuses with error details, and received errors back to failures.

Every error has a `google.rpc.ErrorInfo`; a `RetryInfo` exactly where calling again is right. The message text of
a status begins with its reason, for people who see no details; clients of ours read it without the reason, which
they have from the details (`without_reason`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Final

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from catalogsync_common.failure import Failure, FieldViolation

DOMAIN: Final = "catalogsync"
DETAILS_KEY: Final = "grpc-status-details-bin"
MAX_STATUS_BYTES: Final = 4096
"""gRPC rejects metadata at random from 8 KiB on; base64 and percent-encoding add the rest up to there."""

_MAX_VIOLATIONS: Final = 20
_MAX_METADATA_ENTRIES: Final = 16
_MAX_MESSAGE_BYTES: Final = 600
_MAX_TEXT_BYTES: Final = 200
_MAX_METADATA_KEY_BYTES: Final = 64

STATUS_CODES: Final[Mapping[str, grpc.StatusCode]] = MappingProxyType(
    {
        "INVALID_REQUEST": grpc.StatusCode.INVALID_ARGUMENT,
        "REQUEST_ID_REUSED": grpc.StatusCode.INVALID_ARGUMENT,
        "UNAUTHENTICATED": grpc.StatusCode.UNAUTHENTICATED,
        "PERMISSION_DENIED": grpc.StatusCode.PERMISSION_DENIED,
        "TOKEN_EXPIRED": grpc.StatusCode.UNAUTHENTICATED,
        "SHOP_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
        "SYNC_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
        "ITEM_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
        "PRODUCT_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
        "SYNC_ALREADY_RUNNING": grpc.StatusCode.ALREADY_EXISTS,
        "SHOP_ALREADY_REGISTERED": grpc.StatusCode.ALREADY_EXISTS,
        "SHOP_BEING_DELETED": grpc.StatusCode.FAILED_PRECONDITION,
        "SYNC_NOT_RESUMABLE": grpc.StatusCode.FAILED_PRECONDITION,
        "SYNC_NOT_CANCELLABLE": grpc.StatusCode.FAILED_PRECONDITION,
        "REVISION_IN_FUTURE": grpc.StatusCode.OUT_OF_RANGE,
        "POSITION_EXPIRED": grpc.StatusCode.OUT_OF_RANGE,
        "TEXT_SEARCH_UNAVAILABLE": grpc.StatusCode.FAILED_PRECONDITION,
        "AUDIT_ALREADY_RUNNING": grpc.StatusCode.ABORTED,
        "ANALYZER_NOT_ENABLED": grpc.StatusCode.FAILED_PRECONDITION,
        "TOO_MANY_WATCHERS": grpc.StatusCode.RESOURCE_EXHAUSTED,
        "SERVER_DRAINING": grpc.StatusCode.UNAVAILABLE,
        "STREAM_EXPIRED": grpc.StatusCode.UNAVAILABLE,
        "STORAGE_UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
        "CONNECTOR_UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
        "TOKEN_SERVICE_UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
        "QUERY_TOO_EXPENSIVE": grpc.StatusCode.RESOURCE_EXHAUSTED,
        "RATE_LIMITED": grpc.StatusCode.RESOURCE_EXHAUSTED,
        "SOURCE_UNREACHABLE": grpc.StatusCode.UNAVAILABLE,
        "SOURCE_RATE_LIMITED": grpc.StatusCode.RESOURCE_EXHAUSTED,
        "CREDENTIALS_NOT_FOUND": grpc.StatusCode.FAILED_PRECONDITION,
        "SOURCE_UNAUTHORIZED": grpc.StatusCode.FAILED_PRECONDITION,
        "SOURCE_FORBIDDEN": grpc.StatusCode.FAILED_PRECONDITION,
        "SOURCE_NOT_FOUND": grpc.StatusCode.FAILED_PRECONDITION,
        "SOURCE_REDIRECTED": grpc.StatusCode.FAILED_PRECONDITION,
        "SOURCE_RESPONSE_INVALID": grpc.StatusCode.FAILED_PRECONDITION,
        "SOURCE_QUERY_REFUSED": grpc.StatusCode.FAILED_PRECONDITION,
        "SOURCE_ADDRESS_FORBIDDEN": grpc.StatusCode.FAILED_PRECONDITION,
        "WEBHOOK_SIGNATURE_INVALID": grpc.StatusCode.PERMISSION_DENIED,
        "WEBHOOK_BODY_INVALID": grpc.StatusCode.INVALID_ARGUMENT,
        "CHECKPOINT_INVALID": grpc.StatusCode.INVALID_ARGUMENT,
        "CHECKPOINT_EXPIRED": grpc.StatusCode.FAILED_PRECONDITION,
        "SOURCE_INCOMPLETE": grpc.StatusCode.ABORTED,
        "SOURCE_COUNT_MISMATCH": grpc.StatusCode.ABORTED,
        "SOURCE_CURRENCY_CHANGED": grpc.StatusCode.UNAVAILABLE,
        "SYNC_STALLED": grpc.StatusCode.ABORTED,
        "MASS_DELETE_BLOCKED": grpc.StatusCode.FAILED_PRECONDITION,
        "NOT_IMPLEMENTED": grpc.StatusCode.UNIMPLEMENTED,
        "INTERNAL": grpc.StatusCode.INTERNAL,
    }
)
"""The status code of each reason of `catalogsync.errors.v1.ErrorReason`, without prefix."""

RETRY_DELAYS: Final[Mapping[str, timedelta]] = MappingProxyType(
    {
        "TOO_MANY_WATCHERS": timedelta(seconds=5),
        "SERVER_DRAINING": timedelta(milliseconds=500),
        "STREAM_EXPIRED": timedelta(milliseconds=100),
        "STORAGE_UNAVAILABLE": timedelta(seconds=2),
        "CONNECTOR_UNAVAILABLE": timedelta(seconds=2),
        "TOKEN_SERVICE_UNAVAILABLE": timedelta(seconds=5),
        "RATE_LIMITED": timedelta(seconds=1),
        "SOURCE_UNREACHABLE": timedelta(seconds=10),
        "SOURCE_RATE_LIMITED": timedelta(seconds=10),
        "SOURCE_CURRENCY_CHANGED": timedelta(seconds=1),
    }
)
"""The reasons for which calling again is right, and the delay, unless the failure sets `retry_after`."""


def to_status(failure: Failure, *, unknown_reason: grpc.StatusCode | None = None) -> status_pb2.Status:
    """Return the status of a failure with its details, at most MAX_STATUS_BYTES long.

    Long texts are cut and end in "…"; violations and metadata beyond the limit are omitted.

    Args:
        failure: The failure.
        unknown_reason: The code of a reason that STATUS_CODES does not have: a newer release may have stored it.

    Raises:
        KeyError: STATUS_CODES does not have the reason and there is no `unknown_reason`, which is a bug.
    """
    found = STATUS_CODES.get(failure.reason, unknown_reason)
    if found is None:
        raise KeyError(failure.reason)
    code: int = found.value[0]
    info = error_details_pb2.ErrorInfo(reason=failure.reason, domain=DOMAIN, metadata=_bounded_metadata(failure))
    violations = _bounded_violations(failure)
    while True:
        message = _cut(f"{failure.reason}: {failure.message}", _MAX_MESSAGE_BYTES)
        status = status_pb2.Status(code=code, message=message)
        status.details.add().Pack(info)
        _pack_retry(status, failure)
        if violations:
            status.details.add().Pack(error_details_pb2.BadRequest(field_violations=violations))
        _pack_resource(status, failure)
        if status.ByteSize() <= MAX_STATUS_BYTES:
            return status
        if violations:
            violations.pop()
        else:
            del info.metadata[max(info.metadata, key=lambda key: len(key) + len(info.metadata[key]))]


def without_reason(message: str, reason: str) -> str:
    """Return the message text of a status without the reason that it begins with."""
    return message.removeprefix(f"{reason}: ") if reason else message


def _bounded_metadata(failure: Failure) -> dict[str, str]:
    pairs = list(failure.metadata.items())[:_MAX_METADATA_ENTRIES]
    return {_cut(key, _MAX_METADATA_KEY_BYTES): _cut(value, _MAX_TEXT_BYTES) for key, value in pairs}


def _bounded_violations(failure: Failure) -> list[error_details_pb2.BadRequest.FieldViolation]:
    return [
        error_details_pb2.BadRequest.FieldViolation(
            field=_cut(violation.field, _MAX_TEXT_BYTES),
            description=_cut(violation.description, _MAX_TEXT_BYTES),
        )
        for violation in failure.violations[:_MAX_VIOLATIONS]
    ]


def _pack_retry(status: status_pb2.Status, failure: Failure) -> None:
    delay = RETRY_DELAYS.get(failure.reason)
    if delay is None:
        return
    if failure.retry_after is not None:
        delay = max(failure.retry_after, timedelta())
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromTimedelta(delay)
    status.details.add().Pack(retry)


def _pack_resource(status: status_pb2.Status, failure: Failure) -> None:
    if failure.resource is None:
        return
    resource = error_details_pb2.ResourceInfo(
        resource_type=_cut(failure.resource.type, _MAX_TEXT_BYTES),
        resource_name=_cut(failure.resource.name, _MAX_TEXT_BYTES),
    )
    status.details.add().Pack(resource)


def _cut(text: str, limit: int) -> str:
    """Return at most `limit` bytes of UTF-8; characters that cannot be encoded become "?"."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode()
    return raw[: limit - 3].decode("utf-8", "ignore") + "…"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceivedFailure:
    """An error of a call, as received by its client."""

    code: grpc.StatusCode
    message: str
    """Without the reason that the message text of the status begins with."""
    reason: str = ""
    """A name of `ErrorReason` without prefix; empty if the error is not from our services (network, proxy)."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_after: timedelta | None = None
    """When to call again; None: the server did not say so."""
    violations: tuple[FieldViolation, ...] = ()
    """The invalid fields of the request, if the server named them."""

    @property
    def is_transient(self) -> bool:
        """Whether calling again is right: the server said so, or the connection broke.

        CANCELLED counts as a broken connection, since a server that shuts down answers waiting calls with it; a
        client that cancelled the call itself must not ask.
        """
        return self.retry_after is not None or self.code in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.CANCELLED,
        )


def read_failure_now(error: grpc.aio.AioRpcError) -> ReceivedFailure:
    """Return the failure from `error` alone. Enough for unary calls; for streams see `read_failure`."""
    return _received_failure(error.code(), error.details() or "", error.trailing_metadata())


async def read_failure(error: grpc.aio.AioRpcError, call: grpc.aio.Call | None = None) -> ReceivedFailure:
    """Return the failure that the server sent.

    Args:
        call: the call, if it is a stream. An error raised while reading may be created before the trailers arrive,
            and then contains only "Internal error from Core"; the call waits for them.
    """
    if call is None:
        return read_failure_now(error)
    return _received_failure(await call.code(), await call.details() or "", await call.trailing_metadata())


def _received_failure(code: grpc.StatusCode, details: str, trailers: grpc.aio.Metadata | None) -> ReceivedFailure:
    status = _parse_status(trailers)
    if status is None:
        return ReceivedFailure(code=code, message=details)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    bad_request = error_details_pb2.BadRequest()
    for detail in status.details:
        # An unreadable detail is left empty: the code and the message are still there.
        _unpack(detail.type_url, detail.value, info)
        _unpack(detail.type_url, detail.value, retry)
        _unpack(detail.type_url, detail.value, bad_request)
    from_our_service = info.domain == DOMAIN
    reason = info.reason if from_our_service else ""
    return ReceivedFailure(
        code=code,
        message=without_reason(status.message or details, reason),
        reason=reason,
        metadata=dict(info.metadata) if from_our_service else {},
        retry_after=retry.retry_delay.ToTimedelta() if retry.HasField("retry_delay") else None,
        violations=tuple(
            FieldViolation(field=each.field, description=each.description) for each in bad_request.field_violations
        ),
    )


def _unpack(type_url: str, value: bytes, into: Message) -> None:
    if type_url.rpartition("/")[2] != into.DESCRIPTOR.full_name:
        return
    try:
        into.ParseFromString(value)
    except DecodeError:
        into.Clear()


def _parse_status(trailers: grpc.aio.Metadata | None) -> status_pb2.Status | None:
    raw = trailers.get(DETAILS_KEY) if trailers is not None else None
    if not isinstance(raw, bytes):
        return None
    try:
        return status_pb2.Status.FromString(raw)
    except DecodeError:
        return None
