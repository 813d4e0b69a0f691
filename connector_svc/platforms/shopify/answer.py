"""What came back from one GraphQL call, before its data is looked into."""

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


class ThrottleStatus(Wire, frozen=True, kw_only=True):
    """The bucket of points, as the platform sees it."""

    maximum_available: float
    currently_available: float
    restore_rate: float


class CallCost(Wire, frozen=True, kw_only=True):
    """What the call was charged."""

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
        """The platform's code; empty without one."""
        return (self.extensions and self.extensions.code) or ""

    @property
    def request_id(self) -> str:
        """By which the platform's support finds the call; empty without one."""
        return (self.extensions and self.extensions.request_id) or ""

    @property
    def scope(self) -> str:
        """The access scope that the error asks for; empty when it names none."""
        text = f"{(self.extensions and self.extensions.required_access) or ''} {self.message}"
        match = re.search(r"\b(read|write)_[a-z_]+", text)
        return match[0] if match else ""


class _SearchWarning(Wire, frozen=True, kw_only=True):
    field: str | None = None
    code: str | None = None


class _SearchNote(Wire, frozen=True, kw_only=True):
    warnings: tuple[_SearchWarning, ...] = ()


class _Extensions(Wire, frozen=True, kw_only=True):
    cost: CallCost | None = None
    search: tuple[_SearchNote, ...] = ()


class _Envelope(Wire, frozen=True, kw_only=True):
    data: msgspec.Raw = msgspec.Raw(b"null")
    errors: list[GraphqlError] | str | None = None
    extensions: _Extensions | None = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A GraphQL reply."""

    data: msgspec.Raw | None
    """None: there is none."""
    errors: tuple[GraphqlError, ...]
    cost: CallCost
    ignored_filters: tuple[str, ...]
    """Parts of our search that the platform warned about."""
    served_version: str
    """Empty when the reply does not tell."""
    platform_time: datetime | None
    """UTC, from the reply's Date header."""
    size: int
    """Bytes."""

    def has_error(self, code: str) -> bool:
        """Whether one of the errors has this code."""
        return any(error.code == code for error in self.errors)


def read_answer(reply: HttpReply) -> Answer:
    """Raises msgspec.DecodeError or RecursionError when the body is no GraphQL reply."""
    envelope = _envelope(reply.body)
    extensions = envelope.extensions or _Extensions()
    return Answer(
        data=None if bytes(envelope.data) == b"null" else envelope.data,
        errors=_errors(envelope.errors),
        cost=extensions.cost or CallCost(),
        ignored_filters=tuple(
            f"{warning.field or '?'}: {warning.code or 'warning'}"
            for note in extensions.search
            for warning in note.warnings
        ),
        served_version=reply.headers.get(VERSION_HEADER, ""),
        platform_time=_date(reply.headers.get("Date", "")),
        size=len(reply.body),
    )


def _envelope(body: bytes) -> _Envelope:
    try:
        try:
            return _ENVELOPE.decode(body)
        except msgspec.DecodeError:
            marked = mark_lone_surrogates(body)
            if marked == body:
                raise
            return _ENVELOPE.decode(marked)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError("the reply is no UTF-8") from error


def _errors(errors: list[GraphqlError] | str | None) -> tuple[GraphqlError, ...]:
    if isinstance(errors, str):
        return (GraphqlError(message=errors),)
    return tuple(errors or ())


def _date(text: str) -> datetime | None:
    try:
        time = parsedate_to_datetime(text)
    except ValueError:
        return None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
