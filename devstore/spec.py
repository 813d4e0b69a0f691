"""The specification of one shop: its platform, domain, size, seed and credentials."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from devstore.catalog.model import Platform
from devstore.feed.quirks import FORMATS, FeedQuirk
from devstore.woocommerce.quirks import WooQuirk


class Plan(Enum):
    """A Shopify plan; it decides the rate limit (https://shopify.dev/api/usage/rate-limits)."""

    STANDARD = "standard"
    """2,000 points, 100 restored per second."""
    ADVANCED = "advanced"
    """4,000 points, 200 restored per second."""
    PLUS = "plus"
    """20,000 points, 1,000 restored per second."""


WOO_VERSIONS = ("8.2", "10.3")
WEIGHT_UNITS = ("kg", "g", "lbs", "oz")
MAX_VARIANTS = {
    Platform.SHOPIFY: 2048,
    Platform.WOOCOMMERCE: 2048,
    Platform.BIGCOMMERCE: 600,
    Platform.FEED: 2048,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRange:
    """The number of variants of a generated product with variants: uniformly distributed, both ends included."""

    least: int
    most: int

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.most:
            raise ValueError(f"variants must be a range like 1-12, not {self.least}-{self.most}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopSpec:
    """Everything that decides what a shop serves: equal specs always serve the same catalog."""

    platform: Platform
    domain: str
    """The path prefix of the shop, for example demo.myshopify.com."""
    products: int = 100
    variants: VariantRange | None = None
    """None: 1-12 on Shopify and BigCommerce; 2-12 on WooCommerce, where every second product is variable."""
    seed: int = 7
    currency: str = ""
    """ISO 4217 code; "" means EUR on WooCommerce, USD elsewhere."""
    edge_cases: bool = True
    """Whether edge-case products are among the first ones."""
    plan: Plan = Plan.STANDARD
    version: str = "10.3"
    """The version of WooCommerce; 8.2 has no /wc/v3/variations."""
    simple: bool = True
    """WooCommerce: whether every second product has no variations; if off, only some edge cases have none."""
    weight_unit: str = "kg"
    """WooCommerce: the store's unit of weight, one of WEIGHT_UNITS."""
    workers: int = 0
    """WooCommerce: the number of PHP workers of a shared host; 0: no limit and no delay."""
    work_ms: int = 50
    """WooCommerce: the milliseconds that one worker needs for a request, when there are `workers`."""
    key_writes: bool = False
    """WooCommerce: whether the key has write access too, which webhooks need."""
    woo_quirks: frozenset[WooQuirk] = frozenset()
    """WooCommerce: the initial quirks of the host and its plugins."""
    quota: int = 150
    """BigCommerce: requests per window; 150 is the Standard plan, 450 the Pro plan."""
    quota_seconds: float = 30.0
    """BigCommerce: the length of a window."""
    included_variants: int = 250
    """BigCommerce: the maximum of variants that are included in their product; others need further requests."""
    locations: int = 2
    """BigCommerce: enabled locations that share the stock; the first is the default one. One more is disabled."""
    backorders: bool = False
    """BigCommerce: whether backorders are taken; then variants that may be oversold have a backorder limit."""
    feed_format: str = "ndjson"
    """Feed: the format of its files, one of FORMATS."""
    feed_quirks: frozenset[FeedQuirk] = frozenset()
    """Feed: the initial quirks of its publisher."""
    token: str = ""
    key: str = ""
    secret: str = ""

    def __post_init__(self) -> None:
        if not self.domain or "/" in self.domain or self.domain.startswith("_"):
            raise ValueError(f"a shop's domain must be a host name, not {self.domain!r}")
        if self.products < 0:
            raise ValueError(f"products must not be negative, not {self.products}")
        if not 1 <= self.locations <= 100:
            raise ValueError(f"locations must be 1 to 100, not {self.locations}")
        if self.version not in WOO_VERSIONS:
            raise ValueError(f"version must be one of {', '.join(WOO_VERSIONS)}, not {self.version!r}")
        if self.weight_unit not in WEIGHT_UNITS:
            raise ValueError(f"weight_unit must be one of {', '.join(WEIGHT_UNITS)}, not {self.weight_unit!r}")
        if self.feed_format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {self.feed_format!r}")
        if self.variant_range.most > MAX_VARIANTS[self.platform]:
            raise ValueError(f"variants must not be above {MAX_VARIANTS[self.platform]}")
        if self.platform.sells_variants_only and self.variant_range.least < 1:
            raise ValueError(f"variants must be at least 1: a {self.platform.value} product always has a variant")

    @property
    def name(self) -> str:
        """`platform:domain`, the shop's name on the command line."""
        return f"{self.platform.value}:{self.domain}"

    @property
    def variant_range(self) -> VariantRange:
        """`variants`, or the platform's default."""
        least = 1 if self.platform.sells_variants_only else 2
        return self.variants or VariantRange(least=least, most=12)

    @property
    def currency_code(self) -> str:
        """`currency`, or the platform's default."""
        return self.currency or ("EUR" if self.platform is Platform.WOOCOMMERCE else "USD")

    @property
    def credentials(self) -> dict[str, str]:
        """The valid credentials of the shop, named as the platform names them."""
        if self.platform is Platform.SHOPIFY:
            return {"access_token": self.token or f"shpat_devstore_{self.domain}"}
        if self.platform is Platform.BIGCOMMERCE:
            return {"access_token": self.token or f"bc_devstore_{self.domain}"}
        if self.platform is Platform.FEED:
            return {
                "feed_secret": self.secret or f"feed_devstore_secret_of_32_characters_{self.domain}",
                "feed_token": self.token or f"feed_devstore_{self.domain}",
            }
        return {
            "consumer_key": self.key or f"ck_devstore_{self.domain}",
            "consumer_secret": self.secret or f"cs_devstore_{self.domain}",
        }
