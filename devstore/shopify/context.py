"""The context of one GraphQL request, the errors that resolvers raise, and the default resolvers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from graphql import GraphQLError, GraphQLResolveInfo

from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Image, Product, Variant
from devstore.shopify.bulk_jobs import BulkJobs
from devstore.shopify.quirks import Quirks
from devstore.shopify.scalars import image_url
from devstore.shopify.webhooks import ShopifyWebhooks

MAX_PAGE_SIZE = 250
MAX_PAGE_SIZE_OF_ONE_PRODUCT = 2_048


@dataclass(slots=True, kw_only=True)
class RequestContext:
    """One request; resolvers append to `warnings`, which become `extensions.search` of the reply."""

    catalog: Catalog
    site: str
    """The shop's base URL as the client sees it; image URLs start with it."""
    single_product: bool
    """Whether the only root field is one product, which raises the page size of its variants to 2,048."""
    bulk: BulkJobs
    quirks: Quirks = field(default_factory=Quirks)
    webhooks: ShopifyWebhooks | None = None
    """None in a bulk operation, which cannot read them."""
    warnings: list[dict[str, object]] = field(default_factory=list)

    def image_url(self, image: Image) -> str:
        return image_url(self.site, image)

    def check_cursor(self, args: dict[str, Any]) -> None:
        """Raise GraphQLError when `args` has a cursor and Quirks.cursors_expire says that it has expired."""
        if self.quirks.cursors_expire and args.get("after"):
            self.quirks.cursors_expire -= 1
            raise client_error("Invalid cursor for current pagination sort.", "INVALID_CURSOR")

    def require_scope(self, scope: str, field: str) -> None:
        """Raise GraphQLError for `field` unless the app has the scope for reading or writing."""
        if not {f"read_{scope}", f"write_{scope}"} & set(self.quirks.scopes):
            error = client_error(f"Access denied for {field} field.", "ACCESS_DENIED")
            assert error.extensions is not None
            error.extensions["requiredAccess"] = f"`read_{scope}` access scope."
            raise error


Info = GraphQLResolveInfo[RequestContext]


def client_error(message: str, code: str = "BAD_REQUEST") -> GraphQLError:
    """Return an error that the client caused, with the platform's message and code."""
    return GraphQLError(message, extensions={"code": code})


def resolve_default(source: Any, info: Info, **_: Any) -> Any:
    """Return the field of a dict that another resolver returned.

    Raises:
        GraphQLError: The devstore does not model the field; null would hide that.
    """
    if type(source) is dict and info.field_name in source:
        return source[info.field_name]
    raise GraphQLError(f"devstore does not serve {info.parent_type.name}.{info.field_name}")


def resolve_type(value: Any, *_: Any) -> str:
    """Return the name of the concrete type of a value of an interface type."""
    if isinstance(value, Product):
        return "Product"
    if isinstance(value, Image):
        return "MediaImage"
    if isinstance(value, tuple) and isinstance(value[1], Variant):
        return "ProductVariant"
    return str(value["__typename"])
