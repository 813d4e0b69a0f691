"""Failures map to statuses as error_reason.proto documents, small enough for HTTP/2 headers."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from catalogsync.errors.v1.error_reason_pb2 import ErrorReason
from catalogsync_common.drain import ServerDraining
from catalogsync_common.failure import Failure, FieldViolation, InvalidRequest, Resource
from catalogsync_common.status import (
    DETAILS_KEY,
    MAX_STATUS_BYTES,
    RETRY_DELAYS,
    STATUS_CODES,
    ReceivedFailure,
    read_failure,
    read_failure_now,
    to_status,
)
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2

PROTO = Path(__file__).parents[3] / "protos/catalogsync/errors/v1/error_reason.proto"


def failure_of(reason: str, message: str = "It failed.", **details: object) -> Failure:
    kind = type("Raised", (Failure,), {"reason": reason})
    raised = kind(message, **details)
    assert isinstance(raised, Failure)
    return raised


def documented() -> dict[str, tuple[str, bool]]:
    """Return code and whether to retry per reason, from the comments above the enum's values."""
    found: dict[str, tuple[str, bool]] = {}
    comment: list[str] = []
    for line in PROTO.read_text().splitlines():
        text = line.strip()
        if text.startswith("//"):
            comment.append(text.removeprefix("//").strip())
        elif value := re.fullmatch(r"ERROR_REASON_(\w+) = \d+;", text):
            if value[1] != "UNSPECIFIED":
                head = " ".join(comment).partition(".")[0]
                found[value[1]] = (head.partition(",")[0], "retry" in head)
            comment = []
        else:
            comment = []
    return found


def details_of(status: status_pb2.Status) -> dict[str, Any]:
    return {detail.type_url.rpartition(".")[2]: detail for detail in status.details}


def error_of(status: status_pb2.Status, code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    trailers = grpc.aio.Metadata((DETAILS_KEY, status.SerializeToString()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details=status.message)


def test_every_reason_of_the_contract_has_its_documented_code() -> None:
    names = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.DESCRIPTOR.values_by_name} - {
        "UNSPECIFIED"
    }
    assert set(STATUS_CODES) == names == set(documented())
    assert {reason: code.name for reason, code in STATUS_CODES.items()} == {
        reason: code for reason, (code, _) in documented().items()
    }


def test_exactly_the_reasons_documented_as_retryable_have_a_delay() -> None:
    assert set(RETRY_DELAYS) == {reason for reason, (_, retried) in documented().items() if retried}


@pytest.mark.parametrize("reason", sorted(STATUS_CODES))
def test_the_message_text_begins_with_the_reason_for_people_who_see_no_details(reason: str) -> None:
    assert to_status(failure_of(reason)).message == f"{reason}: It failed."


@pytest.mark.parametrize("reason", sorted(STATUS_CODES))
def test_a_failure_of_any_reason_survives_a_round_trip(reason: str) -> None:
    sent = failure_of(reason, metadata={"sync_id": "7"})
    code = STATUS_CODES[reason]
    received = read_failure_now(error_of(to_status(sent), code))
    assert received == ReceivedFailure(
        code=code,
        message="It failed.",
        reason=reason,
        metadata={"sync_id": "7"},
        retry_after=RETRY_DELAYS.get(reason),
    )


async def test_the_retry_after_of_a_failure_overrides_the_default() -> None:
    sent = failure_of("SOURCE_RATE_LIMITED", retry_after=timedelta(seconds=77.5))
    received = await read_failure(error_of(to_status(sent), grpc.StatusCode.RESOURCE_EXHAUSTED))
    assert received.retry_after == timedelta(seconds=77.5)
    assert received.is_transient


def test_a_retry_delay_is_never_negative() -> None:
    sent = failure_of("SERVER_DRAINING", retry_after=timedelta(seconds=-5))
    assert read_failure_now(error_of(to_status(sent), grpc.StatusCode.UNAVAILABLE)).retry_after == timedelta()


def test_a_reason_that_is_not_retryable_has_no_retry_info() -> None:
    status = to_status(failure_of("SYNC_NOT_FOUND", retry_after=timedelta(seconds=5)))
    assert "RetryInfo" not in details_of(status)


def test_violations_and_resource_are_sent_as_details() -> None:
    status = to_status(InvalidRequest.of("shop.domain", "must be a host name"))
    bad = error_details_pb2.BadRequest()
    assert details_of(status)["BadRequest"].Unpack(bad)
    assert [(v.field, v.description) for v in bad.field_violations] == [("shop.domain", "must be a host name")]
    status = to_status(
        failure_of("SYNC_NOT_FOUND", resource=Resource(type="catalogsync.catalog.v1.Sync", name="7"))
    )
    resource = error_details_pb2.ResourceInfo()
    assert details_of(status)["ResourceInfo"].Unpack(resource)
    assert (resource.resource_type, resource.resource_name) == ("catalogsync.catalog.v1.Sync", "7")


def test_a_hundred_violations_stay_within_the_limit_and_keep_the_first() -> None:
    violations = [FieldViolation(field=f"items[{n}]." + "é" * 300, description="ü" * 500) for n in range(100)]
    status = to_status(InvalidRequest(*violations))
    bad = error_details_pb2.BadRequest()
    assert details_of(status)["BadRequest"].Unpack(bad)
    assert status.ByteSize() <= MAX_STATUS_BYTES
    assert 1 <= len(bad.field_violations) <= 20
    assert bad.field_violations[0].field.startswith("items[0].")


def test_at_most_twenty_violations_are_sent() -> None:
    status = to_status(InvalidRequest(*(FieldViolation(field=f"f{n}", description="wrong") for n in range(21))))
    bad = error_details_pb2.BadRequest()
    assert details_of(status)["BadRequest"].Unpack(bad)
    assert [v.field for v in bad.field_violations] == [f"f{n}" for n in range(20)]


def test_long_texts_are_cut_but_reason_and_retry_delay_stay() -> None:
    sent = failure_of(
        "SOURCE_UNREACHABLE",
        "\U0001f4a5" * 5000 + "\ud800",
        metadata={f"{n}" + "k" * 500: "v\udfff" * 5000 for n in range(50)},
        resource=Resource(type="t" * 5000, name="n" * 5000),
    )
    status = to_status(sent)
    assert status.ByteSize() <= MAX_STATUS_BYTES
    received = read_failure_now(error_of(status, grpc.StatusCode.UNAVAILABLE))
    assert received.reason == "SOURCE_UNREACHABLE"
    assert received.retry_after == RETRY_DELAYS["SOURCE_UNREACHABLE"]
    assert received.message.endswith("…")


def test_headers_stay_below_grpcs_soft_limit() -> None:
    """The longest that base64 can make the details, and percent-encoding the message."""
    sent = failure_of("INVALID_REQUEST", "é" * 5000, metadata={str(n): "é" * 5000 for n in range(16)})
    status = to_status(sent)
    encoded_message = 3 * len(status.message.encode())
    assert status.ByteSize() * 4 / 3 + encoded_message < 8192


def test_a_network_error_has_no_reason_but_is_transient() -> None:
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details="connection refused"
    )
    received = read_failure_now(error)
    assert received == ReceivedFailure(code=grpc.StatusCode.UNAVAILABLE, message="connection refused")
    assert received.is_transient


@pytest.mark.parametrize("raw", [b"\xff\xff\xff", b""])
def test_unreadable_details_leave_code_and_message(raw: bytes) -> None:
    trailers = grpc.aio.Metadata((DETAILS_KEY, raw))
    error = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), trailers, details="gone")
    received = read_failure_now(error)
    assert (received.code, received.message, received.reason) == (grpc.StatusCode.NOT_FOUND, "gone", "")
    assert not received.is_transient


def test_a_reason_of_another_domain_is_ignored() -> None:
    status = status_pb2.Status(code=5, message="x")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="SYNC_NOT_FOUND", domain="googleapis.com"))
    assert read_failure_now(error_of(status, grpc.StatusCode.NOT_FOUND)).reason == ""


def test_server_draining_has_a_retry_delay() -> None:
    assert "RetryInfo" in details_of(to_status(ServerDraining()))
