"""What one shop of the devstore is: its platform, domain, size and keys."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from devstore.catalog.model import Platform
from devstore.feed.quirks import FORMATS, FeedQuirk
from devstore.woocommerce.quirks import WooQuirk


class Plan(Enum):
    """A Shopify plan, which decides the rate limit."""

    STANDARD = "standard"
    """2,000 points, 100 restored per second."""
    ADVANCED = "advanced"
    """4,000 points, 200 restored per second."""
    PLUS = "plus"
    """20,000 points, 1,000 restored per second."""


WOO_VERSIONS = ("8.2", "10.3")
WEIGHT_UNITS = ("kg", "g", "lbs", "oz")
MOST_VARIANTS = {
    Platform.SHOPIFY: 2048,
    Platform.WOOCOMMERCE: 2048,
    Platform.BIGCOMMERCE: 600,
    Platform.FEED: 2048,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantShape:
    """How many variants a generated product of several variants has: evenly spread, both ends included."""

    least: int
    most: int

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.most:
            raise ValueError(f"variants must be a range like 1-12, not {self.least}-{self.most}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopSpec:
    """Everything that decides what a shop serves; the same spec and seed always serve the same catalog."""

    platform: Platform
    domain: str
    """The path prefix below which the shop answers, e.g. demo.myshopify.com."""
    products: int = 100
    variants: VariantShape | None = None
    """None: 1-12 on Shopify and BigCommerce; 2-12 on WooCommerce, where every second product is variable."""
    seed: int = 7
    currency: str = ""
    """"" means EUR on WooCommerce, USD elsewhere."""
    specials: bool = True
    """Whether the difficult products are among the first ones."""
    plan: Plan = Plan.STANDARD
    version: str = "10.3"
    """WooCommerce's version; 8.2 has no /wc/v3/variations."""
    simple: bool = True
    """WooCommerce: whether every second product has no variations; otherwise only special ones have none."""
    weight_unit: str = "kg"
    """WooCommerce: what the store weighs in, one of WEIGHT_UNITS."""
    workers: int = 0
    """WooCommerce: how many requests a cheap host works on at once; 0: any number, in no time."""
    work_ms: int = 50
    """WooCommerce: what one worker takes for a request, when there are `workers`."""
    woo_quirks: frozenset[WooQuirk] = frozenset()
    """WooCommerce: what the host and plugins do from the start on."""
    quota: int = 150
    """BigCommerce: requests per window; 150 is Standard, 450 Pro."""
    quota_seconds: float = 30.0
    """BigCommerce: how long a window is."""
    included_variants: int = 250
    """BigCommerce: how many variants of a product come along with it; the others must be asked for."""
    locations: int = 2
    """BigCommerce: enabled locations that share the stock; the first is the default one. One more is disabled."""
    backorders: bool = False
    """BigCommerce: whether the store takes backorders; then an oversold variant has a limit of them."""
    feed_format: str = "ndjson"
    """Feed: how its files are written, one of FORMATS."""
    feed_quirks: frozenset[FeedQuirk] = frozenset()
    """Feed: what its publisher gets wrong from the start on."""
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
        if self.shape.most > MOST_VARIANTS[self.platform]:
            raise ValueError(f"variants must not be above {MOST_VARIANTS[self.platform]}")
        if self.platform.sells_variants_only and self.shape.least < 1:
            raise ValueError(f"variants must be at least 1: a {self.platform.value} product always has a variant")

    @property
    def name(self) -> str:
        """`platform:domain`, the shop's name on the command line."""
        return f"{self.platform.value}:{self.domain}"

    @property
    def shape(self) -> VariantShape:
        """The variant shape that really counts."""
        least = 1 if self.platform.sells_variants_only else 2
        return self.variants or VariantShape(least=least, most=12)

    @property
    def currency_code(self) -> str:
        """The currency that really counts."""
        return self.currency or ("EUR" if self.platform is Platform.WOOCOMMERCE else "USD")

    @property
    def credentials(self) -> dict[str, str]:
        """The keys that open the shop, named as the platform names them."""
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
