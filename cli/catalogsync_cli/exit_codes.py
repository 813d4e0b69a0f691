"""Exit codes: what a script can tell from `$?`."""

from __future__ import annotations

from enum import IntEnum

import grpc
from catalogsync.catalog.v1.catalog_service_pb2 import Sync
from catalogsync_common.status import ReceivedFailure


class Exit(IntEnum):
    """The code a command ends with. Codes are never given another meaning."""

    OK = 0
    """Done; of a watched sync: SUCCEEDED."""
    FAILED = 1
    """The watched sync FAILED, or the shop cannot be read until somebody repairs its connection."""
    USAGE = 2
    """A wrong command line, or a request that the service calls invalid."""
    NOT_FOUND = 3
    """No such shop, sync or item."""
    UNAVAILABLE = 4
    """Nothing answered, or not in time, or there is too much to do: try again later."""
    CONFLICT = 5
    """The shop has an active sync, or the sync is in a state that does not allow this."""
    DENIED = 6
    """The token is missing, wrong, or does not allow this."""
    CANCELLED = 7
    """The watched sync was CANCELLED."""
    INTERNAL = 70
    """The service or this command broke, or the service cannot do this yet."""
    INTERRUPTED = 130
    """Ctrl-C. A watched sync goes on."""
    BROKEN_PIPE = 141
    """Whoever read the output went away (`| head`)."""


HELP = """\b
Exit codes:
  0    done; of a watched sync: SUCCEEDED
  1    the watched sync FAILED; `check`: the shop's connection needs a repair
  2    wrong usage, or the service calls the request invalid
  3    no such shop, sync or item
  4    nothing answers, or not in time, or it is too busy: try again later
  5    conflict: the shop has an active sync, or the sync's state forbids it
  6    the token is missing, wrong, or does not allow this
  7    the watched sync was CANCELLED
  70   internal error, or not implemented by the service
  130  Ctrl-C: stops watching only, the sync goes on
  141  the reader of the output went away"""

_BY_CODE = {
    grpc.StatusCode.INVALID_ARGUMENT: Exit.USAGE,
    grpc.StatusCode.OUT_OF_RANGE: Exit.USAGE,
    grpc.StatusCode.NOT_FOUND: Exit.NOT_FOUND,
    grpc.StatusCode.UNAVAILABLE: Exit.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Exit.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Exit.UNAVAILABLE,
    grpc.StatusCode.CANCELLED: Exit.UNAVAILABLE,
    grpc.StatusCode.ABORTED: Exit.CONFLICT,
    grpc.StatusCode.ALREADY_EXISTS: Exit.CONFLICT,
    grpc.StatusCode.FAILED_PRECONDITION: Exit.FAILED,
    grpc.StatusCode.UNAUTHENTICATED: Exit.DENIED,
    grpc.StatusCode.PERMISSION_DENIED: Exit.DENIED,
}
_STATE_CONFLICTS = frozenset({"SYNC_NOT_RESUMABLE", "SYNC_NOT_CANCELLABLE"})
_BY_STATE = {
    Sync.STATE_SUCCEEDED: Exit.OK,
    Sync.STATE_FAILED: Exit.FAILED,
    Sync.STATE_CANCELLED: Exit.CANCELLED,
}


def exit_of_failure(failure: ReceivedFailure) -> Exit:
    """The code for a call that was refused."""
    if failure.reason in _STATE_CONFLICTS:
        return Exit.CONFLICT
    return _BY_CODE.get(failure.code, Exit.INTERNAL)


def exit_of_sync(sync: Sync) -> Exit:
    """The code for a sync that was watched to its end."""
    return _BY_STATE.get(sync.state, Exit.INTERNAL)
