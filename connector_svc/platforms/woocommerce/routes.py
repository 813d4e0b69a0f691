"""The ways to list variations, the best first."""

from __future__ import annotations

from enum import Enum


class Route(Enum):
    """Where variations are listed."""

    OFFICIAL = "/wp-json/wc/v3/variations"
    """Of many products at once; WooCommerce 10.3 and later."""
    ANALYTICS = "/wp-json/wc-analytics/variations"
    """The same from WooCommerce's own dashboard, marked internal; there before 10.3, with the same key."""
    PER_PRODUCT = "/wp-json/wc/v3/products/{id}/variations"
    """Of one product; always there."""

    @property
    def is_bulk(self) -> bool:
        """Whether one call answers for many products."""
        return self is not Route.PER_PRODUCT

    def next(self) -> Route:
        """The one to try when this is not there."""
        return Route.ANALYTICS if self is Route.OFFICIAL else Route.PER_PRODUCT

    def of(self, product_id: int) -> str:
        """The path for one product."""
        return self.value.format(id=product_id)

    def describe(self) -> str:
        """For people."""
        if self is Route.PER_PRODUCT:
            return "variations product by product"
        return f"variations of many products at once from {self.value.removeprefix('/wp-json/')}"
