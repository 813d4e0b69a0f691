"""The error replies of the WordPress REST API, with the recorded wording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidValue:
    """Why the value of one parameter is invalid."""

    code: str
    message: str
    data: Mapping[str, str] | None = None


class RestError(Exception):
    """An error reply."""

    def __init__(self, status: int, code: str, message: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "message": message, "data": {"status": status, **(data or {})}}


def no_route() -> RestError:
    return RestError(404, "rest_no_route", "No route was found matching the URL and request method.")


def invalid_params(invalid: Mapping[str, InvalidValue]) -> RestError:
    """Return one error that names all invalid parameters of a request."""
    details = {
        name: {"code": value.code, "message": value.message, "data": value.data} for name, value in invalid.items()
    }
    data = {"params": {name: value.message for name, value in invalid.items()}, "details": details}
    return RestError(400, "rest_invalid_param", f"Invalid parameter(s): {', '.join(invalid)}", data)


def unauthorized(message: str) -> RestError:
    """Return the error for a wrong key or signature."""
    return RestError(401, "woocommerce_rest_authentication_error", message)


def cannot_view(*, single: bool) -> RestError:
    """Return the error for a missing or unknown key."""
    message = "Sorry, you cannot view this resource." if single else "Sorry, you cannot list resources."
    return RestError(401, "woocommerce_rest_cannot_view", message)


def invalid_product() -> RestError:
    return RestError(404, "woocommerce_rest_product_invalid_id", "Invalid ID.")


def invalid_variation() -> RestError:
    return RestError(404, "woocommerce_rest_product_variation_invalid_id", "Invalid ID.")


def invalid_setting() -> RestError:
    return RestError(404, "rest_setting_setting_invalid", "Invalid setting.")
