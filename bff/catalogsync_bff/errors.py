"""Errors of the HTTP API, and the one table from the reasons of catalog_svc to HTTP statuses."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from catalogsync_client import CallTimedOut, CatalogSyncError, ServiceUnavailable, TokenUnavailable
from catalogsync_common.failure import FieldViolation

from catalogsync_bff.json_form import Json

_log = logging.getLogger(__name__)

HTTP_STATUSES: Final[Mapping[str, HTTPStatus]] = MappingProxyType(
    {
        "INVALID_REQUEST": HTTPStatus.BAD_REQUEST,
        "REQUEST_ID_REUSED": HTTPStatus.UNPROCESSABLE_ENTITY,
        "UNAUTHENTICATED": HTTPStatus.UNAUTHORIZED,
        "PERMISSION_DENIED": HTTPStatus.FORBIDDEN,
        "TOKEN_EXPIRED": HTTPStatus.UNAUTHORIZED,
        "SHOP_NOT_FOUND": HTTPStatus.NOT_FOUND,
        "SYNC_NOT_FOUND": HTTPStatus.NOT_FOUND,
        "ITEM_NOT_FOUND": HTTPStatus.NOT_FOUND,
        "PRODUCT_NOT_FOUND": HTTPStatus.NOT_FOUND,
        "SYNC_ALREADY_RUNNING": HTTPStatus.CONFLICT,
        "SYNC_NOT_RESUMABLE": HTTPStatus.CONFLICT,
        "SYNC_NOT_CANCELLABLE": HTTPStatus.CONFLICT,
        "REVISION_IN_FUTURE": HTTPStatus.CONFLICT,
        "SHOP_ALREADY_REGISTERED": HTTPStatus.CONFLICT,
        "SHOP_BEING_DELETED": HTTPStatus.CONFLICT,
        "POSITION_EXPIRED": HTTPStatus.GONE,
        "TEXT_SEARCH_UNAVAILABLE": HTTPStatus.CONFLICT,
        "AUDIT_ALREADY_RUNNING": HTTPStatus.CONFLICT,
        "ANALYZER_NOT_ENABLED": HTTPStatus.CONFLICT,
        "TOO_MANY_WATCHERS": HTTPStatus.SERVICE_UNAVAILABLE,
        "SERVER_DRAINING": HTTPStatus.SERVICE_UNAVAILABLE,
        "STREAM_EXPIRED": HTTPStatus.SERVICE_UNAVAILABLE,
        "STORAGE_UNAVAILABLE": HTTPStatus.SERVICE_UNAVAILABLE,
        "CONNECTOR_UNAVAILABLE": HTTPStatus.SERVICE_UNAVAILABLE,
        "TOKEN_SERVICE_UNAVAILABLE": HTTPStatus.SERVICE_UNAVAILABLE,
        "QUERY_TOO_EXPENSIVE": HTTPStatus.UNPROCESSABLE_ENTITY,
        "RATE_LIMITED": HTTPStatus.TOO_MANY_REQUESTS,
        "SOURCE_UNREACHABLE": HTTPStatus.SERVICE_UNAVAILABLE,
        "SOURCE_RATE_LIMITED": HTTPStatus.SERVICE_UNAVAILABLE,
        "CREDENTIALS_NOT_FOUND": HTTPStatus.CONFLICT,
        "SOURCE_UNAUTHORIZED": HTTPStatus.CONFLICT,
        "SOURCE_FORBIDDEN": HTTPStatus.CONFLICT,
        "SOURCE_NOT_FOUND": HTTPStatus.CONFLICT,
        "SOURCE_REDIRECTED": HTTPStatus.CONFLICT,
        "SOURCE_RESPONSE_INVALID": HTTPStatus.BAD_GATEWAY,
        "SOURCE_QUERY_REFUSED": HTTPStatus.BAD_GATEWAY,
        "SOURCE_ADDRESS_FORBIDDEN": HTTPStatus.CONFLICT,
        "WEBHOOK_SIGNATURE_INVALID": HTTPStatus.UNAUTHORIZED,
        "WEBHOOK_BODY_INVALID": HTTPStatus.BAD_REQUEST,
        "CHECKPOINT_INVALID": HTTPStatus.BAD_REQUEST,
        "CHECKPOINT_EXPIRED": HTTPStatus.CONFLICT,
        "SOURCE_INCOMPLETE": HTTPStatus.BAD_GATEWAY,
        "SOURCE_COUNT_MISMATCH": HTTPStatus.BAD_GATEWAY,
        "SOURCE_CURRENCY_CHANGED": HTTPStatus.SERVICE_UNAVAILABLE,
        "SYNC_STALLED": HTTPStatus.CONFLICT,
        "MASS_DELETE_BLOCKED": HTTPStatus.CONFLICT,
        "NOT_IMPLEMENTED": HTTPStatus.NOT_IMPLEMENTED,
        "INTERNAL": HTTPStatus.BAD_GATEWAY,
    }
)
"""By reason of `catalogsync.errors.v1.ErrorReason`, without prefix."""


class HttpError(Exception):
    """An error that is answered with a status and a code. The message is for people and contains no secret."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Mapping[str, Json] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details: Mapping[str, Json] = details or {}
        self.headers: Mapping[str, str] = headers or {}


def invalid_request(violations: Sequence[FieldViolation]) -> HttpError:
    """Return the error for invalid parameters."""
    fields = ", ".join(violation.field for violation in violations)
    return HttpError(
        HTTPStatus.BAD_REQUEST,
        "INVALID_REQUEST",
        f"These fields are invalid: {fields}.",
        details={"violations": _violations(violations)},
    )


def http_error(error: CatalogSyncError, *, caller_has_token: bool) -> HttpError:
    """Return the HTTP error for an error of a call of the catalog.

    Args:
        error: the error.
        caller_has_token: whether the caller has sent the token that the catalog refuses. Otherwise the BFF has
            made it, and the caller can do nothing about it.
    """
    status = HTTP_STATUSES.get(error.reason)
    if status is None:
        return _unreasoned(error)
    if status == HTTPStatus.UNAUTHORIZED and error.reason != "WEBHOOK_SIGNATURE_INVALID" and not caller_has_token:
        _log.error("catalog_svc refuses the credentials of the BFF: %s: %s", error.reason, error.message)
        message = "The catalog does not accept the credentials of this service."
        return HttpError(HTTPStatus.BAD_GATEWAY, "CATALOG_REFUSES_SERVICE", message)
    details: dict[str, Json] = dict(error.metadata)
    if error.violations:
        details["violations"] = _violations(error.violations)
    return HttpError(
        status, error.reason, error.message or error.reason, details=details, headers=_retry_after(error)
    )


def _unreasoned(error: CatalogSyncError) -> HttpError:
    """Return the error of a call without an answer of catalog_svc. Its text is only logged."""
    _log.warning("a call of catalog_svc failed: %s", error.message)
    if isinstance(error, CallTimedOut):
        return HttpError(HTTPStatus.GATEWAY_TIMEOUT, "CATALOG_TIMEOUT", "The catalog did not answer in time.")
    if isinstance(error, ServiceUnavailable | TokenUnavailable):
        message = "The catalog cannot be reached at the moment."
        return HttpError(
            HTTPStatus.SERVICE_UNAVAILABLE, "CATALOG_UNAVAILABLE", message, headers={"Retry-After": "2"}
        )
    return HttpError(HTTPStatus.BAD_GATEWAY, "CATALOG_ERROR", "The catalog answered with an unknown error.")


def _retry_after(error: CatalogSyncError) -> Mapping[str, str]:
    if error.retry_after is None:
        return {}
    return {"Retry-After": str(max(1, math.ceil(error.retry_after.total_seconds())))}


def _violations(violations: Sequence[FieldViolation]) -> Json:
    return [{"field": one.field, "description": one.description} for one in violations]
