"""What every response, the logs and the processes must fulfil, whatever was sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import grpc
from catalogsync.errors.v1.error_reason_pb2 import ErrorReason
from catalogsync_common.status import STATUS_CODES, read_failure_now

from tests.security.fuzz.callers import Caller
from tests.security.fuzz.mutations import MAX_MESSAGE_BYTES

MAX_TRAILER_BYTES: Final = 8_192
_REASONS: Final = frozenset(name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys())  # noqa: SIM118
_BAD_REASONS: Final = frozenset(
    {"INTERNAL", "STORAGE_UNAVAILABLE", "CONNECTOR_UNAVAILABLE", "TOKEN_SERVICE_UNAVAILABLE"}
)
"""The services are well, so that bad input is the only cause for these."""
_LEAKS: Final = re.compile(
    r"Traceback|<class|object at 0x|\.py\b|\b\w+(?:Error|Exception)\b|NoneType|unexpected keyword|127\.0\.0\.1:"
    r"|asyncpg|sqlalchemy|aiohttp|msgspec|pydantic|grpc\.|google\.protobuf"
    r"|\b(?:SELECT|INSERT|UPDATE|DELETE) |\bcolumn\b|\brelation\b"
)
_BROKEN_LINE: Final = re.compile(r'^  \| |^\S+ CRITICAL|Traceback|"exception":|"level": "CRITICAL"')
"""A line of a traceback in a text log, or a record with an exception in a JSON log."""
_MAX_LINE_CHARACTERS: Final = 1_500


def violation(error: grpc.aio.AioRpcError, caller: Caller, raw: bytes) -> str | None:
    """Return what is wrong with the error of a call; None: nothing."""
    failure = read_failure_now(error)
    details = error.details() or ""
    if not failure.reason and _is_of_grpc(error.code(), caller, raw):
        return None
    if error.code() in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL):
        return f"{error.code().name}: {details}"
    if failure.reason not in _REASONS or STATUS_CODES.get(failure.reason) is not error.code():
        return f"{error.code().name} with the reason {failure.reason!r}: {details}"
    if failure.reason in _BAD_REASONS:
        return f"{failure.reason}: {details}"
    if not details.startswith(f"{failure.reason}: ") or not details.isprintable() or _LEAKS.search(details):
        return f"unreadable or leaking message: {details!r}"
    size = _size(error.trailing_metadata())
    return f"{size} bytes of trailers: {details}" if size > MAX_TRAILER_BYTES else None


def _is_of_grpc(code: grpc.StatusCode, caller: Caller, raw: bytes) -> bool:
    """Return whether gRPC itself may have ended the call, without our servers."""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return caller.may_expire
    return code is grpc.StatusCode.RESOURCE_EXHAUSTED and (caller.is_oversized or len(raw) > MAX_MESSAGE_BYTES)


def _size(trailers: grpc.aio.Metadata | None) -> int:
    """Return the bytes of trailers as they are sent: binary values in base64."""
    pairs: Any = trailers or ()
    return sum(
        len(key) + (len(value) * 4 + 2) // 3 if key.endswith("-bin") else len(key) + len(value)
        for key, value in pairs
    )


def broken_lines(log: Path, offset: int) -> Iterator[str]:
    """Yield the lines of a log, from an offset on, that show an unexpected exception; the log is text or JSON."""
    with log.open("rb") as file:
        file.seek(offset)
        for raw in file:
            line = raw.decode("utf-8", "replace").rstrip()
            if _BROKEN_LINE.search(line):
                yield f"{log.name}: {line[-_MAX_LINE_CHARACTERS:]}"


def memory_mb(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the resident memory of processes that run, in MB; one that has exited is missing."""
    found = {}
    for name, pid in pids.items():
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        if resident := re.search(r"VmRSS:\s+(\d+) kB", status):
            found[name] = int(resident[1]) / 1_024
    return found
