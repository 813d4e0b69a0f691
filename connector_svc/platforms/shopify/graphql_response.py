"""The envelope of a GraphQL response: data, errors, query cost and search warnings.

See https://shopify.dev/docs/api/admin-graphql and https://shopify.dev/docs/api/usage/limits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from connector_svc.domain.records import mark_lone_surrogates
from connector_svc.platforms.base import HttpReply
from connector_svc.platforms.shopify.wire import Wire

VERSION_HEADER = "X-Shopify-API-Version"

# These texts end up in messages and logs. A proxy or a defect may write anything into them, even our token.
_CODE = re.compile(r"[A-Za-z_]{1,64}")
_REQUEST_ID = re.compile(r"[0-9a-f-]{1,64}")


def _safe_code(text: str | None) -> str:
    return text if text and _CODE.fullmatch(text) else ""


class ThrottleStatus(Wire, frozen=True, kw_only=True):
    """The shop's bucket of query points, as Shopify reports it."""

    maximum_available: float
    currently_available: float
    restore_rate: float
    """Points per second."""


class QueryCost(Wire, frozen=True, kw_only=True):
    """The query points of one call."""

    requested_query_cost: float | None = None
    actual_query_cost: float | None = None
    """None: nothing was charged."""
    throttle_status: ThrottleStatus | None = None


class _ErrorExtensions(Wire, frozen=True, kw_only=True):
    code: str | None = None
    request_id: str | None = None
    required_access: str | None = None


class GraphqlError(Wire, frozen=True, kw_only=True):
    """One entry of `errors`."""

    message: str = ""
    path: list[str | int] | None = None
    extensions: _ErrorExtensions | None = None

    @property
    def code(self) -> str:
        """Shopify's error code; empty without one that has the form of a code."""
        return _safe_code(self.extensions.code) if self.extensions else ""

    @property
    def request_id(self) -> str:
        """The id by which Shopify's support finds the call; empty without one that has the form of an id."""
        text = (self.extensions and self.extensions.request_id) or ""
        return text if _REQUEST_ID.fullmatch(text) else ""

    @property
    def required_scope(self) -> str:
        """The access scope that the error asks for; empty when it names none."""
        text = f"{(self.extensions and self.extensions.required_access) or ''} {self.message}"
        match = re.search(r"\b(read|write)_[a-z_]+", text)
        return match[0] if match else ""


class _SearchWarning(Wire, frozen=True, kw_only=True):
    field: str | None = None
    code: str | None = None


class _SearchExtension(Wire, frozen=True, kw_only=True):
    warnings: tuple[_SearchWarning, ...] = ()


class _Extensions(Wire, frozen=True, kw_only=True):
    cost: QueryCost | None = None
    search: tuple[_SearchExtension, ...] = ()


class _Envelope(Wire, frozen=True, kw_only=True):
    data: msgspec.Raw = msgspec.Raw(b"null")
    errors: list[GraphqlError] | str | None = None
    extensions: _Extensions | None = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphqlResponse:
    """A GraphQL response whose data is not decoded yet."""

    data: msgspec.Raw | None
    """None: the response has no data."""
    errors: tuple[GraphqlError, ...]
    cost: QueryCost
    ignored_filters: tuple[str, ...]
    """Parts of our search filter that Shopify warned about."""
    served_version: str
    """The API version that answered; empty when the reply does not say."""
    platform_time: datetime | None
    """UTC, from the reply's Date header."""
    size_bytes: int

    def has_error(self, code: str) -> bool:
        """Return whether one of the errors has this code."""
        return any(error.code == code for error in self.errors)


def decode_response(reply: HttpReply) -> GraphqlResponse:
    """Decode the envelope of an HTTP reply.

    Raises:
        msgspec.DecodeError: The body is not a GraphQL response.
        RecursionError: The body is nested too deeply.
    """
    envelope = _decode_envelope(reply.body)
    extensions = envelope.extensions or _Extensions()
    return GraphqlResponse(
        data=None if bytes(envelope.data) == b"null" else envelope.data,
        errors=_errors(envelope.errors),
        cost=extensions.cost or QueryCost(),
        ignored_filters=tuple(
            f"{_safe_code(warning.field) or '?'}: {_safe_code(warning.code) or 'warning'}"
            for extension in extensions.search
            for warning in extension.warnings
        ),
        served_version=reply.headers.get(VERSION_HEADER, ""),
        platform_time=_parse_date(reply.headers.get("Date", "")),
        size_bytes=len(reply.body),
    )


def _decode_envelope(body: bytes) -> _Envelope:
    try:
        try:
            return _ENVELOPE.decode(body)
        except msgspec.DecodeError:
            marked = mark_lone_surrogates(body)
            if marked == body:
                raise
            return _ENVELOPE.decode(marked)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError("the response is not valid UTF-8") from error


def _errors(errors: list[GraphqlError] | str | None) -> tuple[GraphqlError, ...]:
    if isinstance(errors, str):
        return (GraphqlError(message=errors),)
    return tuple(errors or ())


def _parse_date(text: str) -> datetime | None:
    try:
        time = parsedate_to_datetime(text)
    except ValueError:
        return None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
