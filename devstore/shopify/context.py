"""What a resolver may know of the request it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError, GraphQLResolveInfo

from devstore.catalog.catalog import Catalog
from devstore.shopify.quirks import Quirks

if TYPE_CHECKING:
    from devstore.shopify.bulk_jobs import BulkJobs

MAX_PAGE_SIZE = 250
MAX_PAGE_SIZE_OF_ONE_PRODUCT = 2_048


@dataclass(slots=True, kw_only=True)
class RequestContext:
    """One request; `warnings` gathers what `extensions.search` of the reply says."""

    catalog: Catalog
    site: str
    """The shop's base URL as the client sees it; image addresses start with it."""
    single_product: bool
    """The only root field is one product, which lifts the page size of its variants to 2,048."""
    bulk: BulkJobs
    quirks: Quirks = field(default_factory=Quirks)
    warnings: list[dict[str, object]] = field(default_factory=list)

    def image_url(self, image_id: int) -> str:
        return f"{self.site}/images/{image_id}.png"

    def use_cursor(self, args: dict[str, Any]) -> None:
        """Refuses the cursor of `args` when it has expired."""
        if self.quirks.cursors_expire and args.get("after"):
            self.quirks.cursors_expire -= 1
            raise refused("Invalid cursor for current pagination sort.", "INVALID_CURSOR")

    def require(self, scope: str, field: str) -> None:
        """Refuses `field` to an app without the scope; writing includes reading."""
        if not {f"read_{scope}", f"write_{scope}"} & set(self.quirks.scopes):
            error = refused(f"Access denied for {field} field.", "ACCESS_DENIED")
            assert error.extensions is not None
            error.extensions["requiredAccess"] = f"`read_{scope}` access scope."
            raise error


def refused(message: str, code: str = "BAD_REQUEST") -> GraphQLError:
    """An error of the client's making, worded and coded as the API does."""
    return GraphQLError(message, extensions={"code": code})


Info = GraphQLResolveInfo[RequestContext]
