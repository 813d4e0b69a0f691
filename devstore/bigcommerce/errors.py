"""The errors of the V3 API."""

from __future__ import annotations

from typing import Any

_TYPE = "https://developer.bigcommerce.com/api-docs/getting-started/api-status-codes"


class ApiError(Exception):
    """An error reply of the V3 API."""

    def __init__(self, status: int, title: str) -> None:
        super().__init__(title)
        self.status = status
        self.body: dict[str, Any] = {"status": status, "title": title, "type": _TYPE, "errors": {}}


def unauthorized() -> ApiError:
    """Return the error for a missing or wrong token."""
    return ApiError(401, "Unauthorized")


def forbidden() -> ApiError:
    """Return the error for a token without the required scope."""
    return ApiError(403, "You don't have a required scope to access the endpoint")


def not_found() -> ApiError:
    """Return the error for an unknown store, record or route."""
    return ApiError(404, "The requested resource was not found.")


def invalid_filters(names: list[str]) -> ApiError:
    """Return the error for parameters that the list does not support."""
    return ApiError(422, f"The filter(s): {', '.join(names)} are not valid filter parameter(s).")


def invalid_value(name: str) -> ApiError:
    """Return the error for an invalid value of a parameter."""
    return ApiError(422, f"The value for {name} is not valid.")


def too_many_requests() -> ApiError:
    """Return the error for a request beyond the quota of the window."""
    return ApiError(429, "Too Many Requests")
