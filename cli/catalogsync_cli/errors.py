"""A call that was refused or never answered, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import grpc
from catalogsync.catalog.v1.catalog_service_pb2 import Sync
from catalogsync_common.status import ReceivedFailure

from catalogsync_cli.exit_codes import exit_of_failure
from catalogsync_cli.formatting import error_info, printable


class CallFailed(Exception):
    """A call ended with an error; the message is readable alone."""

    def __init__(self, failure: ReceivedFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure

    @classmethod
    def of(cls, failure: ReceivedFailure, *, callee: str, timeout: float | None = None) -> CallFailed:
        """As received, or in our words when the network and not the service speaks."""
        return cls(failure if failure.reason else replace(failure, message=_told(failure, callee, timeout)))


def _told(failure: ReceivedFailure, callee: str, timeout: float | None) -> str:
    if failure.code is grpc.StatusCode.DEADLINE_EXCEEDED and timeout is not None:
        return f"{callee} did not answer within {timeout:g} s"
    if failure.code is grpc.StatusCode.UNAVAILABLE:
        return f"{callee} does not answer: {failure.message}"
    if failure.code is grpc.StatusCode.UNIMPLEMENTED:
        return f"{callee} does not know this call: {failure.message}"
    return f"{callee} answered {failure.code.name}: {failure.message or 'without a message'}"


def next_step(failure: ReceivedFailure, *, hint: str = "") -> str:
    """What to do next, as a sentence without a full stop; empty when the message says it all.

    `hint` is put behind suggested commands, so that they ask the same services.
    """
    if failure.retry_after is not None:
        return f"try again in {failure.retry_after.total_seconds():g} s"
    advise = _ADVICE.get(failure.reason)
    if advise is not None:
        return printable(advise(_Known(failure.metadata), hint))
    if not failure.reason and failure.code is grpc.StatusCode.UNAVAILABLE:
        return "see that it runs and that the address is right, then try again"
    if not failure.reason and failure.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "try again, or give it longer with --timeout"
    return ""


def next_step_of_sync(sync: Sync, *, hint: str = "") -> str:
    """What to do about a sync that has failed; empty when its message says it all, or when it has not failed."""
    info = error_info(sync)
    advise = _ADVICE.get(info.reason)
    ids = {"sync_id": sync.sync_id, "platform": sync.shop.platform, "domain": sync.shop.domain}
    known = _Known({**info.metadata, **ids})
    return printable(advise(known, hint)) if advise is not None else ""


def error_line(failure: ReceivedFailure, *, hint: str = "") -> str:
    """The failure on one line: message, reason, what to do next."""
    reason = failure.reason or failure.code.name
    step = next_step(failure, hint=hint)
    line = f"Error: {printable(failure.message)} [{printable(reason)}]"
    return f"{line}; {step}" if step else line


def error_document(failure: ReceivedFailure, *, hint: str = "") -> dict[str, object]:
    """The failure for programs; see cli/README.md."""
    error: dict[str, object] = {
        "code": failure.code.name,
        "reason": failure.reason or failure.code.name,
        "message": failure.message,
        "metadata": dict(failure.metadata),
        "exitCode": int(exit_of_failure(failure)),
    }
    if failure.retry_after is not None:
        error["retryAfterSeconds"] = failure.retry_after.total_seconds()
    step = next_step(failure, hint=hint)
    if step:
        error["nextStep"] = step
    return {"error": error}


class _Known:
    """Metadata to be put into a command; what is missing is left as a placeholder to be filled in."""

    def __init__(self, metadata: Mapping[str, str]) -> None:
        self._metadata = metadata

    def __getitem__(self, key: str) -> str:
        return self._metadata.get(key) or key.upper()

    @property
    def shop(self) -> str:
        """The shop as the command line takes it."""
        platform, domain = self._metadata.get("platform"), self._metadata.get("domain")
        return f"{platform}:{domain}" if platform and domain else "SHOP"


_ADVICE: Mapping[str, Callable[[_Known, str], str]] = {
    "SYNC_ALREADY_RUNNING": lambda known, hint: f"watch it: catalogsync{hint} sync watch {known['sync_id']}",
    "REQUEST_ID_REUSED": lambda known, hint: "take another --request-id, or leave it out",
    "UNAUTHENTICATED": lambda known, hint: "give a valid token in CATALOGSYNC_TOKEN or with --token",
    "PERMISSION_DENIED": lambda known, hint: "use a token that allows this",
    "SHOP_NOT_FOUND": lambda known, hint: f"start its first sync: catalogsync{hint} sync start {known.shop}",
    "CREDENTIALS_NOT_FOUND": lambda known, hint: (
        "give connector_svc the shop's credentials: in the file of CONNECTOR_CREDENTIALS_FILE, or in the Token "
        "Service of CONNECTOR_TOKEN_SERVICE_URL; see docs/operations.md"
    ),
    "SYNC_NOT_FOUND": lambda known, hint: f"see which there are: catalogsync{hint} sync list",
    "SYNC_NOT_RESUMABLE": lambda known, hint: f"start a new one: catalogsync{hint} sync start {known.shop}",
    "SYNC_NOT_CANCELLABLE": lambda known, hint: f"see how it ended: catalogsync{hint} sync get {known['sync_id']}",
    "MASS_DELETE_BLOCKED": lambda known, hint: (
        f"if that is right: catalogsync{hint} sync start {known.shop} --full --allow-mass-delete"
    ),
    "INTERNAL": lambda known, hint: f"look for error_id {known['error_id']} in the service's log",
}
