"""Reads query parameters and JSON bodies, and reports every invalid field at once."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from catalogsync_common.failure import FieldViolation
from google.protobuf.descriptor import EnumDescriptor

from catalogsync_bff.errors import HttpError, invalid_request
from catalogsync_bff.json_form import enum_prefix

_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_MAX_TEXT: Final = 2_000
"""Characters of a parameter; the catalog has limits of its own, which are lower."""


_MAX_INTERVAL_SECONDS: Final = 366 * 86_400


class Parameters:
    """Values by name, of a query or of a body. Call `check` after the last one was read."""

    def __init__(self, values: Mapping[str, Any], *, known: Collection[str]) -> None:
        """Create the reader.

        Args:
            values: the values; those of a query are texts, or tuples of them.
            known: the names that may occur.
        """
        self._values = values
        self._violations = [
            FieldViolation(field=name[:100], description="there is no such field")
            for name in values
            if name not in known
        ]

    def check(self) -> None:
        """Raise HttpError (400) if a value that was read is invalid, or a name is unknown."""
        if self._violations:
            raise invalid_request(self._violations)

    def has(self, name: str) -> bool:
        """Return whether the value is given."""
        return name in self._values

    def reject(self, name: str, description: str) -> None:
        """Report a value as invalid."""
        self._violations.append(FieldViolation(field=name, description=description))

    def text(self, name: str) -> str:
        """Return a text; "" if it is missing or null."""
        value = self._values.get(name)
        if value is None:
            return ""
        if not isinstance(value, str) or not _is_unicode(value) or len(value) > _MAX_TEXT:
            self.reject(name, f"expected a text of at most {_MAX_TEXT} characters")
            return ""
        return value

    def boolean(self, name: str) -> bool:
        """Return a boolean; false if it is missing or null."""
        value = self._values.get(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        if isinstance(value, str) and value in _BOOLEANS:
            return _BOOLEANS[value]
        self.reject(name, "expected true or false")
        return False

    def integer(self, name: str, *, most: int) -> int:
        """Return an integer from 1 to `most`; 0 if it is missing."""
        value = self._values.get(name)
        if value is None:
            return 0
        if isinstance(value, str) and value.isascii() and value.isdecimal() and 1 <= int(value[:10]) <= most:
            return int(value)
        self.reject(name, f"expected an integer from 1 to {most}")
        return 0

    def enum(self, name: str, values: EnumDescriptor) -> int:
        """Return a value of an enum by its name without prefix; 0 if it is missing or null."""
        value = self._values.get(name)
        return 0 if value is None else self._enum(name, value, values)

    def enums(self, name: str, values: EnumDescriptor) -> list[int]:
        """Return the values of a parameter that may be given several times."""
        given = self._values.get(name, ())
        return [self._enum(name, value, values) for value in ((given,) if isinstance(given, str) else given)]

    def interval(self, name: str) -> timedelta | None:
        """Return a number of seconds; None if it is null."""
        value = self._values.get(name)
        if value is None:
            return None
        # 60.0 is an integer in JSON, too.
        is_integer = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
        if not is_integer or not 0 <= value <= _MAX_INTERVAL_SECONDS:
            self.reject(name, "expected a number of seconds")
            return None
        return timedelta(seconds=value)

    def _enum(self, name: str, value: object, values: EnumDescriptor) -> int:
        prefix = enum_prefix(values)
        numbers = {one.name.removeprefix(prefix): one.number for one in values.values if one.number}
        if not isinstance(value, str) or value not in numbers:
            self.reject(name, f"expected one of {', '.join(numbers)}")
            return 0
        return numbers[value]


def query_of(request: web.Request, *known: str, repeated: Collection[str] = ()) -> Parameters:
    """Return the query parameters of a request. A name that is not `repeated` may occur once."""
    query = request.query
    values = {name: tuple(query.getall(name)) if name in repeated else query[name] for name in query}
    parameters = Parameters(values, known=(*known, *repeated))
    for name in query:
        if name in known and len(query.getall(name)) > 1:
            parameters.reject(name, "is given several times")
    return parameters


async def body_of(request: web.Request, *known: str) -> Parameters:
    """Return the fields of a JSON object in the body; no body is an empty object.

    Raises:
        HttpError: 400: it is not a JSON object. 413: it is too large.
    """
    raw = await request.read()
    try:
        value = json.loads(raw) if raw.strip() else {}
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise HttpError(HTTPStatus.BAD_REQUEST, "INVALID_REQUEST", "Expected a JSON object as body.")
    return Parameters(value, known=known)


def _is_unicode(text: str) -> bool:
    """Return whether the text can be encoded: JSON may contain halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
