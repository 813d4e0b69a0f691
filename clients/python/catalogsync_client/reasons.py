"""The error class of each reason of `catalogsync.errors.v1.ErrorReason`, with what to do about it.

The service's own message is more specific: it names the shop, the field or the time. `what_to_do` is what a
program, or the person who wrote it, can do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import grpc
from catalogsync_common.status import ReceivedFailure

from catalogsync_client.connection_errors import explain_connection_failure
from catalogsync_client.errors import (
    CallTimedOut,
    CatalogSyncError,
    ConnectionFailed,
    ServiceUnavailable,
    UnexpectedError,
)


class ReasonedError(CatalogSyncError):
    """An error with a reason of `ErrorReason`; the name of a subclass is its reason in camel case."""


class TransientError(ReasonedError):
    """An error that ends by itself. Unary calls that are safe to repeat were repeated already; streams resume."""

    what_to_do = "Call again after `retry_after`."


class ShopConnectionError(ReasonedError):
    """The shop cannot be read until its connection or its settings are changed."""


class InvalidRequest(ReasonedError):
    """A field of the request is invalid."""

    what_to_do = "Correct the fields in `violations`."


class RequestIdReused(ReasonedError):
    """The request_id was used before with other parameters."""

    what_to_do = "Use a new request_id for a new request."


class Unauthenticated(ReasonedError):
    """The credentials are missing or invalid."""

    what_to_do = "Send a valid token or service secret."


class PermissionDenied(ReasonedError):
    """The credentials are valid, and do not permit this method."""

    what_to_do = "Use a token with the scope of this method."


class TokenExpired(ReasonedError):
    """The token has expired, and the credentials have no other one."""

    what_to_do = "Use a TokenProvider or a TokenFile, which renew the token."


class ShopNotFound(ReasonedError):
    """The shop is not registered, or belongs to another merchant than the token."""

    what_to_do = "Register the shop, or start its first sync."


class SyncNotFound(ReasonedError):
    """There is no such sync, or it is of another merchant's shop."""

    what_to_do = "List the syncs of the shop."


class ItemNotFound(ReasonedError):
    """The shop has no such item, and had none."""

    what_to_do = "List the items of the shop."


class ProductNotFound(ReasonedError):
    """The shop has no such product, and had none."""

    what_to_do = "List the products of the shop."


class SyncAlreadyRunning(ReasonedError):
    """The shop has an active sync."""

    what_to_do = "Watch the sync in `sync_id`, or wait for its end."

    @property
    def sync_id(self) -> str:
        """The active sync."""
        return self.metadata.get("sync_id", "")


class SyncNotResumable(ReasonedError):
    """Only a failed or cancelled sync with a checkpoint can be resumed."""

    what_to_do = "Start a new sync."


class SyncNotCancellable(ReasonedError):
    """The sync has ended already."""

    what_to_do = "Nothing: get the sync to see how it ended."


class RevisionInFuture(ReasonedError):
    """The revision is of another database, or of one before a restore."""

    what_to_do = "Watch again without a revision; `CatalogClient.watch` does so by itself."


class ShopAlreadyRegistered(ReasonedError):
    """The shop is registered for another merchant."""

    what_to_do = "Let the other merchant release the shop, or update its merchant_id as an operator."


class ShopBeingDeleted(ReasonedError):
    """The shop is being deleted."""

    what_to_do = "Wait for the end of the deletion; delete_shop shows its progress."


class PositionExpired(ReasonedError):
    """Changes after this position are purged, or the position is of another database."""

    what_to_do = "Begin without a position and remove what is not listed again; `mirror_items` does so by itself."


class TextSearchUnavailable(ReasonedError):
    """The catalog cannot search texts."""

    what_to_do = "Filter otherwise, or let the operator set up text search."


class AnalyzerNotEnabled(ReasonedError):
    """The shop does not use this analyzer."""

    what_to_do = "Add the analyzer to the shop's `analyzers` with update_shop."


class AuditAlreadyRunning(ReasonedError):
    """Another audit of the shop is running."""

    what_to_do = "Wait for its end."


class TooManyWatchers(TransientError):
    """This replica has as many watchers as it accepts."""


class ServerDraining(TransientError):
    """This replica is shutting down; another one answers the next call."""


class StreamExpired(TransientError):
    """The client read no message for too long."""


class StorageUnavailable(TransientError):
    """The database is unavailable."""


class ConnectorUnavailable(TransientError):
    """The connector is unavailable."""


class TokenServiceUnavailable(TransientError):
    """The service that holds the shops' credentials is unavailable."""


class QueryTooExpensive(ReasonedError):
    """The query exceeded the time limit."""

    what_to_do = "Narrow the filter."


class RateLimited(TransientError):
    """This method is called more often than the limit allows."""


class SourceUnreachable(TransientError):
    """The shop's platform cannot be reached, or returns server errors."""


class SourceRateLimited(TransientError):
    """The shop's platform demands a longer pause than one call waits."""


class CredentialsNotFound(ShopConnectionError):
    """There are no credentials for this shop."""

    what_to_do = "Connect the shop first."


class SourceUnauthorized(ShopConnectionError):
    """The platform rejects the shop's credentials."""

    what_to_do = "Connect the shop again."


class SourceForbidden(ShopConnectionError):
    """The shop's credentials lack a permission; `missing` in the metadata has the scopes, if known."""

    what_to_do = "Connect the shop again, with these permissions."


class SourceNotFound(ShopConnectionError):
    """The platform does not know the shop, or its API is missing."""

    what_to_do = "Check the domain, and that the shop's API is switched on."


class SourceRedirected(ShopConnectionError):
    """The shop redirects to another host."""

    what_to_do = "Register the host that it redirects to."


class SourceResponseInvalid(ShopConnectionError):
    """The shop returned something other than an API response."""

    what_to_do = "Check what serves the shop's API address: a login page, a firewall, a plugin."


class SourceQueryRefused(ShopConnectionError):
    """The platform rejected the query, ignored a filter or served another API version."""

    what_to_do = "Report it with the served API version; the connector must be adapted."


class SourceAddressForbidden(ShopConnectionError):
    """The domain resolves to an address that must not be called."""

    what_to_do = "Use the public host name of the shop."


class WebhookSignatureInvalid(ReasonedError):
    """The delivery is not signed with a secret of the shop that it names."""

    what_to_do = "Answer 401. If the delivery is genuine, check the shop's webhook secret."


class WebhookBodyInvalid(ReasonedError):
    """The delivery is signed, but its body is not one that the platform sends."""

    what_to_do = "Answer 400."


class CheckpointInvalid(ReasonedError):
    """The checkpoint is not of this service and shop."""

    what_to_do = "Start a new sync."


class CheckpointExpired(ReasonedError):
    """The checkpoint is of another query or version."""

    what_to_do = "Start a new sync."


class SourceIncomplete(ReasonedError):
    """The stream of products ended early."""

    what_to_do = "Resume the sync."


class SourceCountMismatch(ReasonedError):
    """The received products do not match the platform's count."""

    what_to_do = "Start a full sync; if it repeats, report the shop."


class SyncStalled(ReasonedError):
    """Repeated attempts stored nothing."""

    what_to_do = "Look at the log of the service, then resume the sync."


class SourceCurrencyChanged(TransientError):
    """The shop's currency changed during the read."""


class MassDeleteBlocked(ReasonedError):
    """The sync would delete more than the deletion guard allows."""

    what_to_do = "Check the shop; if the deletions are right, start a sync with allow_mass_delete."


class NotImplementedByService(ReasonedError):
    """The method is part of the contract, and this release does not implement it."""


class InternalError(ReasonedError):
    """A bug of the service; its log has the `error_id` in the metadata."""

    what_to_do = "Report it with the error_id."


_SPECIAL_NAMES: Final[Mapping[str, str]] = {
    "NotImplementedByService": "NOT_IMPLEMENTED",
    "InternalError": "INTERNAL",
}
"""Classes that cannot be named like their reason."""


def _subclasses(base: type[ReasonedError]) -> list[type[ReasonedError]]:
    return [one for child in base.__subclasses__() for one in (child, *_subclasses(child))]


def _reason_of(error_class: type[ReasonedError]) -> str:
    name = error_class.__name__
    return _SPECIAL_NAMES.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()


BY_REASON: Final[Mapping[str, type[ReasonedError]]] = {
    _reason_of(each): each
    for each in _subclasses(ReasonedError)
    if each not in (TransientError, ShopConnectionError)
}
"""The class of each reason."""

_BY_STATUS_CODE: Mapping[grpc.StatusCode, type[CatalogSyncError]] = {
    grpc.StatusCode.UNAVAILABLE: ServiceUnavailable,
    grpc.StatusCode.CANCELLED: ServiceUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: CallTimedOut,
}


def error_of(failure: ReceivedFailure, *, callee: str, timeout: float | None = None) -> CatalogSyncError:
    """Return the error for a failure, of the class of its reason.

    Args:
        failure: the failure as received. If the network and not the service failed, its message is replaced.
        callee: name and address of the service, for the message.
        timeout: the time limit of the call in seconds, if it had one.
    """
    if failure.reason:
        return BY_REASON.get(failure.reason, UnexpectedError)(failure)
    explained = explain_connection_failure(failure, callee)
    if explained.reason:
        return ConnectionFailed(explained)
    error_class = _BY_STATUS_CODE.get(failure.code, UnexpectedError)
    return error_class(replace(failure, message=_message(failure, callee, timeout)))


def _message(failure: ReceivedFailure, callee: str, timeout: float | None) -> str:
    if failure.code is grpc.StatusCode.DEADLINE_EXCEEDED and timeout is not None:
        return f"{callee} did not answer within {timeout:g} s"
    if failure.code is grpc.StatusCode.UNAVAILABLE:
        return f"{callee} does not answer: {failure.message}"
    if failure.code is grpc.StatusCode.UNIMPLEMENTED:
        return f"{callee} does not implement this call: {failure.message}"
    return f"{callee} answered {failure.code.name}: {failure.message or 'no message'}"
