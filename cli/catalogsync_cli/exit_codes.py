"""Exit codes of the command line, and how call failures and sync states map to them."""

from __future__ import annotations

from enum import IntEnum

import grpc
from catalogsync.catalog.v1.catalog_service_pb2 import Sync
from catalogsync_common.status import ReceivedFailure


class ExitCode(IntEnum):
    """The exit code of a command. A code never changes its meaning."""

    OK = 0
    """Success; for a watched sync: SUCCEEDED."""
    FAILED = 1
    """The watched sync FAILED, the shop cannot be read until its connection is fixed, `verify` found drift, or a
    check of `doctor` failed."""
    USAGE = 2
    """Invalid command line, or a request that the service rejected as invalid."""
    NOT_FOUND = 3
    """No such shop, sync, product or item."""
    UNAVAILABLE = 4
    """The service is unreachable, too slow or overloaded: try again later."""
    CONFLICT = 5
    """The state of the shop or of the sync forbids it: an active sync, a running deletion, another merchant."""
    DENIED = 6
    """The token is missing, invalid, or lacks the permission."""
    CANCELLED = 7
    """The watched sync was CANCELLED."""
    INTERNAL = 70
    """Internal error of the service or of this command, or something that the service cannot do."""
    INTERRUPTED = 130
    """Ctrl-C. A watched sync continues."""
    BROKEN_PIPE = 141
    """The reader of the output closed the pipe (`| head`)."""


HELP = """\b
Exit codes:
  0    success; for a watched sync: SUCCEEDED
  1    the watched sync FAILED; `check`: the shop's connection must be fixed;
       `verify`: the catalog was wrong; `doctor`: a check failed
  2    invalid usage, or the service rejected the request as invalid
  3    no such shop, sync, product or item
  4    service unreachable, too slow or overloaded: try again later
  5    conflict: the state of the shop or of the sync forbids it
  6    the token is missing, invalid, or lacks the permission
  7    the watched sync was CANCELLED
  70   internal error, or something that the service cannot do
  130  Ctrl-C: stops watching only, the sync continues
  141  the reader of the output closed the pipe"""

_BY_STATUS_CODE = {
    grpc.StatusCode.INVALID_ARGUMENT: ExitCode.USAGE,
    grpc.StatusCode.OUT_OF_RANGE: ExitCode.USAGE,
    grpc.StatusCode.NOT_FOUND: ExitCode.NOT_FOUND,
    grpc.StatusCode.UNAVAILABLE: ExitCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: ExitCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ExitCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED: ExitCode.UNAVAILABLE,
    grpc.StatusCode.ABORTED: ExitCode.CONFLICT,
    grpc.StatusCode.ALREADY_EXISTS: ExitCode.CONFLICT,
    grpc.StatusCode.FAILED_PRECONDITION: ExitCode.FAILED,
    grpc.StatusCode.UNAUTHENTICATED: ExitCode.DENIED,
    grpc.StatusCode.PERMISSION_DENIED: ExitCode.DENIED,
}
_STATE_CONFLICTS = frozenset(
    {"SHOP_BEING_DELETED", "SYNC_NOT_RESUMABLE", "SYNC_NOT_CANCELLABLE", "ANALYZER_NOT_ENABLED"}
)
"""Reasons whose status code is FAILED_PRECONDITION, but which do not mean that the shop's connection is broken."""
_UNSUPPORTED = frozenset({"TEXT_SEARCH_UNAVAILABLE"})
"""Reasons whose status code is FAILED_PRECONDITION, but which mean that the service lacks something."""
_BY_SYNC_STATE = {
    Sync.STATE_SUCCEEDED: ExitCode.OK,
    Sync.STATE_FAILED: ExitCode.FAILED,
    Sync.STATE_CANCELLED: ExitCode.CANCELLED,
}


def exit_code_of_failure(failure: ReceivedFailure) -> ExitCode:
    """Return the exit code for a failed call."""
    if failure.reason in _STATE_CONFLICTS:
        return ExitCode.CONFLICT
    if failure.reason in _UNSUPPORTED:
        return ExitCode.INTERNAL
    return _BY_STATUS_CODE.get(failure.code, ExitCode.INTERNAL)


def exit_code_of_sync(sync: Sync) -> ExitCode:
    """Return the exit code for a sync that was watched until it ended."""
    return _BY_SYNC_STATE.get(sync.state, ExitCode.INTERNAL)
