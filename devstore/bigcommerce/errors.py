"""The errors of the V3 API."""

from __future__ import annotations

from typing import Any

_TYPE = "https://developer.bigcommerce.com/api-docs/getting-started/api-status-codes"


class ApiError(Exception):
    """Answers a request with this error."""

    def __init__(self, status: int, title: str) -> None:
        super().__init__(title)
        self.status = status
        self.body: dict[str, Any] = {"status": status, "title": title, "type": _TYPE, "errors": {}}


def unauthorized() -> ApiError:
    """No token, or one of another store."""
    return ApiError(401, "Unauthorized")


def forbidden() -> ApiError:
    """A token without the scope that the resource needs."""
    return ApiError(403, "You don't have a required scope to access the endpoint")


def not_found() -> ApiError:
    """No such store, record or route."""
    return ApiError(404, "The requested resource was not found.")


def invalid_filters(names: list[str]) -> ApiError:
    """Parameters that the list does not know."""
    return ApiError(422, f"The filter(s): {', '.join(names)} are not valid filter parameter(s).")


def invalid_value(name: str) -> ApiError:
    """A parameter whose value is none."""
    return ApiError(422, f"The value for {name} is not valid.")


def too_many_requests() -> ApiError:
    """The window's requests are used up."""
    return ApiError(429, "Too Many Requests")
