"""Failed calls: their message, the suggested next step, and their text and JSON forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import grpc
from catalogsync.catalog.v1.catalog_service_pb2 import Sync
from catalogsync_client import error_info
from catalogsync_common.status import ReceivedFailure

from catalogsync_cli.exit_codes import exit_code_of_failure
from catalogsync_cli.formatting import sanitize


def next_step(failure: ReceivedFailure, *, hint: str = "") -> str:
    """Return what to do about a failed call, without a full stop; "" when the message is enough.

    Args:
        hint: options to add to suggested commands, so that they reach the same services.
    """
    if failure.retry_after is not None:
        return f"try again in {failure.retry_after.total_seconds():g} s"
    suggest = _NEXT_STEPS.get(failure.reason)
    if suggest is not None:
        return sanitize(suggest(_Arguments(failure.metadata), hint))
    if not failure.reason and failure.code is grpc.StatusCode.UNAVAILABLE:
        return "check that it runs and that the address is right, then try again"
    if not failure.reason and failure.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "try again, or raise the limit with --timeout"
    return ""


def next_step_of_sync(sync: Sync, *, hint: str = "") -> str:
    """Return what to do about a failed sync; "" when its message is enough, or when it did not fail."""
    info = error_info(sync)
    suggest = _NEXT_STEPS.get(info.reason)
    ids = {"sync_id": sync.sync_id, "platform": sync.shop.platform, "domain": sync.shop.domain}
    arguments = _Arguments({**info.metadata, **ids})
    return sanitize(suggest(arguments, hint)) if suggest is not None else ""


def error_line(failure: ReceivedFailure, *, hint: str = "") -> str:
    """Return the failure as one line: message, reason, next step."""
    reason = failure.reason or failure.code.name
    step = next_step(failure, hint=hint)
    line = f"Error: {sanitize(failure.message)} [{sanitize(reason)}]"
    return f"{line}; {step}" if step else line


def error_document(failure: ReceivedFailure, *, hint: str = "") -> dict[str, object]:
    """Return the failure as a JSON document, as described in README.md beside this file."""
    error: dict[str, object] = {
        "code": failure.code.name,
        "reason": failure.reason or failure.code.name,
        "message": failure.message,
        "metadata": dict(failure.metadata),
        "exitCode": int(exit_code_of_failure(failure)),
    }
    if failure.retry_after is not None:
        error["retryAfterSeconds"] = failure.retry_after.total_seconds()
    step = next_step(failure, hint=hint)
    if step:
        error["nextStep"] = step
    return {"error": error}


class _Arguments:
    """Arguments of a suggested command, from error metadata; a missing one is a placeholder such as SYNC_ID."""

    def __init__(self, metadata: Mapping[str, str]) -> None:
        self._metadata = metadata

    def __getitem__(self, key: str) -> str:
        return self._metadata.get(key) or key.upper()

    @property
    def shop(self) -> str:
        """The shop as written on the command line."""
        platform, domain = self._metadata.get("platform"), self._metadata.get("domain")
        return f"{platform}:{domain}" if platform and domain else "SHOP"


_WAIT_FOR_FULL_SYNC = "wait for the next full sync, which may decide; or, "

_NEXT_STEPS: Mapping[str, Callable[[_Arguments, str], str]] = {
    "SYNC_ALREADY_RUNNING": lambda args, hint: f"watch it: catalogsync{hint} sync watch {args['sync_id']}",
    "REQUEST_ID_REUSED": lambda args, hint: "use another --request-id, or omit it",
    "UNAUTHENTICATED": lambda args, hint: "set a valid token in CATALOGSYNC_TOKEN or with --token",
    "PERMISSION_DENIED": lambda args, hint: "use a token with this permission",
    "SHOP_NOT_FOUND": lambda args, hint: f"start its first sync: catalogsync{hint} sync start {args.shop}",
    "SHOP_ALREADY_REGISTERED": lambda args, hint: f"show it: catalogsync{hint} shops show {args['shop_id']}",
    "SHOP_BEING_DELETED": lambda args, hint: (
        f"wait for the end: catalogsync{hint} shops delete {args['shop_id']} --yes --wait"
    ),
    "CREDENTIALS_NOT_FOUND": lambda args, hint: (
        "give connector_svc the shop's credentials: in the file of CONNECTOR_CREDENTIALS_FILE, or in the Token "
        "Service of CONNECTOR_TOKEN_SERVICE_URL; see docs/operations/credentials.md"
    ),
    "POSITION_EXPIRED": lambda args, hint: (
        "begin without a position, and remove what is not listed again; a --position-file can be deleted"
    ),
    "ANALYZER_NOT_ENABLED": lambda args, hint: (
        f"switch it on: catalogsync{hint} shops update {args['shop_id']} --analyzer {args['analyzer']}"
    ),
    "SYNC_NOT_FOUND": lambda args, hint: f"list the syncs: catalogsync{hint} sync list",
    "SYNC_NOT_RESUMABLE": lambda args, hint: f"start a new one: catalogsync{hint} sync start {args.shop}",
    "SYNC_NOT_CANCELLABLE": lambda args, hint: f"show how it ended: catalogsync{hint} sync get {args['sync_id']}",
    "MASS_DELETE_BLOCKED": lambda args, hint: (
        f"{_WAIT_FOR_FULL_SYNC if args['decided_by'] == 'FULL_SYNC' else ''}if the deletions are right: "
        f"catalogsync{hint} sync start {args.shop} --full --allow-mass-delete"
    ),
    "CERTIFICATE_EXPIRED": lambda args, hint: (
        "the operator of the service must renew it; check the clock of this machine as well"
    ),
    "CERTIFICATE_NAME_MISMATCH": lambda args, hint: "use a host name that the certificate has",
    "CERTIFICATE_UNTRUSTED": lambda args, hint: "set the file of its CA in CATALOGSYNC_CA_FILE or with --ca-file",
    "TLS_NOT_SUPPORTED": lambda args, hint: "omit --tls and the options for certificates",
    "CONNECTION_CLOSED": lambda args, hint: (
        "use --tls or --ca-file, and --cert-file with --key-file if it requires a client certificate"
    ),
    "INTERNAL": lambda args, hint: f"search the service's log for error_id {args['error_id']}",
}
"""The next step per reason, given the arguments and the hint of `next_step`."""
