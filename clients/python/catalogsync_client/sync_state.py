"""Whether a sync has ended, and how."""

from __future__ import annotations

from typing import Final

from catalogsync.catalog.v1.catalog_service_pb2 import Sync
from catalogsync_common.status import without_reason
from google.rpc.error_details_pb2 import ErrorInfo

ENDED: Final = frozenset({Sync.STATE_SUCCEEDED, Sync.STATE_FAILED, Sync.STATE_CANCELLED})
"""The terminal states."""


def has_ended(sync: Sync) -> bool:
    """Return whether the sync is in a terminal state."""
    return sync.state in ENDED


def error_info(sync: Sync) -> ErrorInfo:
    """Return the ErrorInfo of a failed sync, with its reason and metadata; an empty one if there is none."""
    info = ErrorInfo()
    for detail in sync.error.details:
        if detail.Unpack(info):
            break
    return info


class SyncNotSuccessful(Exception):
    """A sync that ended FAILED or CANCELLED."""

    def __init__(self, sync: Sync) -> None:
        self.sync = sync
        """The terminal snapshot."""
        self.reason = str(error_info(sync).reason)
        """Why it failed, a name of `ErrorReason` without prefix; "" if it was cancelled."""
        text = without_reason(sync.error.message, self.reason) or "no message"
        failed = sync.state == Sync.STATE_FAILED
        super().__init__(f"sync {sync.sync_id} failed: {text}" if failed else f"sync {sync.sync_id} was cancelled")
