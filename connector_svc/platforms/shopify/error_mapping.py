"""Maps HTTP statuses and GraphQL errors to source failures, and attributes record errors to their records.

`MaxCostExceeded`, `ShopifyInternalError` and `ReplyUnusable` never leave this package: the caller asks for a
smaller page. `ReplyUndecodable` never leaves it either: the client sends the call again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from connector_svc.domain.errors import (
    SourceFailure,
    SourceForbidden,
    SourceNotFound,
    SourceQueryRefused,
    SourceResponseInvalid,
    SourceUnreachable,
)
from connector_svc.domain.shop import Shop
from connector_svc.platforms.shopify.graphql_response import GraphqlError, GraphqlResponse


class MaxCostExceeded(Exception):
    """The query costs more points than Shopify allows; at this page size it always will."""


class ShopifyInternalError(Exception):
    """Shopify failed internally; a smaller page may succeed. The text is the request id for Shopify's support."""


class ReplyUnusable(Exception):
    """The HTTP client rejected the reply, usually because it is too large; a smaller page may be accepted."""


class ReplyUndecodable(Exception):
    """The body is not a GraphQL response: truncated, empty or a web page. The next one may be valid."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._is_truncated = body.lstrip().startswith(b"{")

    def failure(self, shop: Shop) -> SourceFailure:
        """Return the failure to raise when every retry ends like this."""
        if self._is_truncated:
            return SourceUnreachable(shop, "each of its replies is truncated")
        return SourceResponseInvalid(shop)


class InvalidCursor(SourceQueryRefused):
    """Shopify does not accept the cursor (any more); a listing in id order can continue after the last id."""


def failure_for_status(shop: Shop, status: int) -> SourceFailure | None:
    """Return the failure that an HTTP status means; None when the body may be read.

    401 is not mapped here: the client retries it with new credentials.
    """
    if status == 200:
        return None
    known: dict[int, SourceFailure] = {
        402: SourceForbidden(shop, "Shopify has frozen the shop for an unpaid bill; its owner must settle it"),
        403: SourceForbidden(shop, "Shopify answered 403: our app is not allowed to read this shop"),
        404: SourceNotFound(shop),
        423: SourceForbidden(shop, "Shopify has locked the shop; its owner must ask Shopify's support"),
    }
    if status in known:
        return known[status]
    if 400 <= status < 500:
        return SourceQueryRefused(shop, f"HTTP {status}")
    if status >= 500:
        return SourceUnreachable(shop, f"HTTP {status}")
    return SourceResponseInvalid(shop, f"HTTP {status} instead of a GraphQL response")


def raise_for_errors(shop: Shop, response: GraphqlResponse) -> None:
    """Raise unless the response has usable data, alone or with errors that are each about one record.

    Raises:
        SourceFailure: Shopify rejected the query, the access or a search filter.
        MaxCostExceeded: The query is too expensive at this page size.
        ShopifyInternalError: Shopify failed internally.
    """
    if response.ignored_filters:
        raise SourceQueryRefused(shop, f"Shopify ignored a filter: {', '.join(response.ignored_filters[:3])}")
    if response.has_error("MAX_COST_EXCEEDED"):
        raise MaxCostExceeded
    if response.has_error("ACCESS_DENIED"):
        scope = next((error.required_scope for error in response.errors if error.required_scope), "")
        raise missing_scope(shop, scope)
    if response.data is not None and all(_is_about_one_record(error) for error in response.errors):
        return
    if response.has_error("INTERNAL_SERVER_ERROR") or response.has_error("TIMEOUT"):
        raise ShopifyInternalError(", ".join(error.request_id for error in response.errors if error.request_id))
    if not response.errors:
        raise SourceResponseInvalid(shop, "a GraphQL response with neither data nor errors")
    codes = sorted({error.code or "no code" for error in response.errors})
    if any("CURSOR" in error.code or "cursor" in error.message.lower() for error in response.errors):
        raise InvalidCursor(shop, f"GraphQL errors: {', '.join(codes)}")
    raise SourceQueryRefused(shop, f"GraphQL errors: {', '.join(codes)}")


def missing_scope(shop: Shop, scope: str) -> SourceForbidden:
    """Return the failure for a missing access scope; an empty `scope` is not known."""
    return SourceForbidden(shop, f"missing access scope {scope or 'unknown'}", missing=scope or "unknown")


def internal_error(shop: Shop) -> SourceUnreachable:
    """Return the failure for internal errors of Shopify, which are transient."""
    return SourceUnreachable(shop, "Shopify answers with internal errors")


def _is_about_one_record(error: GraphqlError) -> bool:
    match error.path:
        case ["products", "nodes", int(), *_]:
            return True
        case ["nodes", int(), *_]:
            return True
        case ["product", _, *_]:
            return True
        case ["product"]:
            return error.code != "INTERNAL_SERVER_ERROR"
    return False


@dataclass(kw_only=True, slots=True)
class RecordErrors:
    """The errors of a response that are about one product."""

    product: GraphqlError | None = None
    variants: dict[int, GraphqlError] = field(default_factory=dict)
    """By the index of the variant."""

    def add(self, error: GraphqlError, subpath: list[str | int]) -> None:
        """Add an error; `subpath` is its path below the product."""
        match subpath:
            case ["variants", "nodes", int(index), *_]:
                self.variants.setdefault(index, error)
            case _:
                self.product = self.product or error


def errors_by_page_index(errors: Iterable[GraphqlError]) -> dict[int, RecordErrors]:
    """Attribute the errors of a page (`products.nodes`) by the product's index on the page."""
    found: dict[int, RecordErrors] = {}
    for error in errors:
        match error.path:
            case ["products", "nodes", int(index), *subpath]:
                found.setdefault(index, RecordErrors()).add(error, subpath)
    return found


def errors_by_id_index(errors: Iterable[GraphqlError]) -> dict[int, RecordErrors]:
    """Attribute the errors of `nodes(ids:)` by the index of the requested id."""
    found: dict[int, RecordErrors] = {}
    for error in errors:
        match error.path:
            case ["nodes", int(index), *subpath]:
                found.setdefault(index, RecordErrors()).add(error, subpath)
    return found


def product_errors(errors: Iterable[GraphqlError]) -> RecordErrors | None:
    """Return the errors of the one requested product; None: no error."""
    found: RecordErrors | None = None
    for error in errors:
        found = found or RecordErrors()
        found.add(error, list(error.path or ())[1:])
    return found
