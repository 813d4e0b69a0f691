"""The error bodies of the Admin API."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from graphql import GraphQLError

from devstore.shopify.cost import SINGLE_QUERY_MAXIMUM

_LIMITS_PAGE = "https://shopify.dev/api/usage/rate-limits"
BAD_TOKEN = {"errors": "[API] Invalid API key or access token (unrecognized login or wrong password)"}
NOT_FOUND = {"errors": "Not Found"}
NO_QUERY = {"errors": {"query": "Required parameter missing or invalid"}}


def throttled(requested: int, status: dict[str, float]) -> dict[str, Any]:
    """The bucket does not hold the requested cost."""
    error = {"message": "Throttled", "extensions": {"code": "THROTTLED", "documentation": _LIMITS_PAGE}}
    return {"errors": [error], "extensions": {"cost": cost(requested, None, status)}}


def too_dear(requested: int) -> dict[str, Any]:
    """No bucket would ever allow the query."""
    message = (
        f"Query cost is {requested}, which exceeds the single query max cost limit ({SINGLE_QUERY_MAXIMUM}).\n\n"
        f"See {_LIMITS_PAGE} for more information on how the cost of a query is calculated."
    )
    extensions = {
        "code": "MAX_COST_EXCEEDED",
        "cost": requested,
        "maxCost": SINGLE_QUERY_MAXIMUM,
        "documentation": _LIMITS_PAGE,
    }
    return {"errors": [{"message": message, "extensions": extensions}]}


def cost(requested: int, actual: int | None, status: dict[str, float]) -> dict[str, Any]:
    """`extensions.cost`."""
    return {"requestedQueryCost": requested, "actualQueryCost": actual, "throttleStatus": status}


def worded(errors: Iterable[GraphQLError]) -> list[dict[str, Any]]:
    """Errors as the reply lists them; an internal one carries the request id that support asks for."""
    lines: list[dict[str, Any]] = [dict(error.formatted) for error in errors]
    for line in lines:
        extensions = line.get("extensions")
        if extensions and extensions.get("code") == "INTERNAL_SERVER_ERROR":
            line["extensions"] = {**extensions, "requestId": str(uuid.uuid4())}
    return lines
