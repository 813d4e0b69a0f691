"""How the platform says no: HTTP status and GraphQL errors become failures that a merchant can act on.

MaxCostExceeded, ShopifyInternalError and ReplyUnusable never leave this package: they are answered with a smaller page.
ReplyUndecodable is answered by asking again.


Which record an error beside data is about."""

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
    """The query costs more than the platform allows; it will at this size for ever."""


class ShopifyInternalError(Exception):
    """The platform failed inside; a smaller page may pass. Its text is the request id for Shopify's support."""


class ReplyUnusable(Exception):
    """The HTTP client would not read the reply, mostly since it is too large; a smaller page is."""


class ReplyUndecodable(Exception):
    """The body is no GraphQL reply: cut short, empty or a web page. The next one may be sound."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._is_cut = body.lstrip().startswith(b"{")

    def failure(self, shop: Shop) -> SourceFailure:
        """What it means when every retry ends so."""
        if self._is_cut:
            return SourceUnreachable(shop, "its reply is cut short each time we ask")
        return SourceResponseInvalid(shop)


class InvalidCursor(SourceQueryRefused):
    """A cursor is not accepted (any more); a listing in the order of ids can go on behind the last id."""


def failure_for_status(shop: Shop, status: int) -> SourceFailure | None:
    """What an HTTP status means; None when the body may be read. 401 is the client's care."""
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
    return SourceResponseInvalid(shop, f"HTTP {status} where a GraphQL reply is due")


def raise_for_errors(shop: Shop, answer: GraphqlResponse) -> None:
    """Raises unless the data can be used, alone or beside errors that each blame one record."""
    if answer.ignored_filters:
        raise SourceQueryRefused(shop, f"Shopify ignored a filter: {', '.join(answer.ignored_filters[:3])}")
    if answer.has_error("MAX_COST_EXCEEDED"):
        raise MaxCostExceeded
    if answer.has_error("ACCESS_DENIED"):
        scope = next((error.scope for error in answer.errors if error.scope), "")
        raise forbidden(shop, scope)
    if answer.data is not None and all(_blames_one_record(error) for error in answer.errors):
        return
    if answer.has_error("INTERNAL_SERVER_ERROR") or answer.has_error("TIMEOUT"):
        raise ShopifyInternalError(", ".join(error.request_id for error in answer.errors if error.request_id))
    if not answer.errors:
        raise SourceResponseInvalid(shop, "a GraphQL reply with neither data nor errors")
    codes = sorted({error.code or "no code" for error in answer.errors})
    if any("CURSOR" in error.code or "cursor" in error.message.lower() for error in answer.errors):
        raise InvalidCursor(shop, f"GraphQL errors: {', '.join(codes)}")
    raise SourceQueryRefused(shop, f"GraphQL errors: {', '.join(codes)}")


def _blames_one_record(error: GraphqlError) -> bool:
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


def forbidden(shop: Shop, scope: str) -> SourceForbidden:
    """Access to `scope` is missing."""
    return SourceForbidden(shop, f"missing access scope {scope or 'unknown'}", missing=scope or "unknown")


def internal_error(shop: Shop) -> SourceUnreachable:
    """Shopify itself is ill; it passes."""
    return SourceUnreachable(shop, "Shopify answers with internal errors")


@dataclass(kw_only=True, slots=True)
class RecordErrors:
    """The errors that a reply carries for one record."""

    product: GraphqlError | None = None
    variants: dict[int, GraphqlError] = field(default_factory=dict)

    def add(self, error: GraphqlError, below: list[str | int]) -> None:
        """Notes `error`, whose path goes on from the product with `below`."""
        match below:
            case ["variants", "nodes", int(index), *_]:
                self.variants.setdefault(index, error)
            case _:
                self.product = self.product or error


def errors_by_page_index(errors: Iterable[GraphqlError]) -> dict[int, RecordErrors]:
    """By the product's index on its page."""
    blames: dict[int, RecordErrors] = {}
    for error in errors:
        match error.path:
            case ["products", "nodes", int(index), *below]:
                blames.setdefault(index, RecordErrors()).add(error, below)
    return blames


def errors_by_id_index(errors: Iterable[GraphqlError]) -> dict[int, RecordErrors]:
    """By the index of the id that was asked for."""
    blames: dict[int, RecordErrors] = {}
    for error in errors:
        match error.path:
            case ["nodes", int(index), *below]:
                blames.setdefault(index, RecordErrors()).add(error, below)
    return blames


def product_errors(errors: Iterable[GraphqlError]) -> RecordErrors | None:
    """Of the one product that was asked for; None: no error."""
    blame: RecordErrors | None = None
    for error in errors:
        blame = blame or RecordErrors()
        blame.add(error, list(error.path or ())[1:])
    return blame
