"""The command line's words for a shop: `platform:domain:option=value,...`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from devstore.catalog.model import Platform
from devstore.feed.quirks import FORMATS, FeedQuirk
from devstore.spec import WEIGHT_UNITS, WOO_VERSIONS, Plan, ShopSpec, VariantShape
from devstore.woocommerce.quirks import WooQuirk


class BadShop(ValueError):
    """A --shop that cannot be understood; the message says why and what would be right."""


def parse_shop(text: str, *, seed: int) -> ShopSpec:
    """The spec that a --shop text describes."""
    platform_name, _, rest = text.partition(":")
    domain, _, options = rest.partition(":")
    try:
        platform = Platform(platform_name)
    except ValueError:
        known = " or ".join(platform.value for platform in Platform)
        raise BadShop(f"--shop {text!r}: the platform must be {known}, not {platform_name!r}") from None
    try:
        changes = dict(_option(platform, pair) for pair in options.split(",") if pair)
        return replace(ShopSpec(platform=platform, domain=domain, seed=seed), **changes)
    except ValueError as error:
        raise BadShop(f"--shop {text!r}: {error}") from None


def _option(platform: Platform, pair: str) -> tuple[str, Any]:
    name, _, value = pair.partition("=")
    readers = _COMMON | _OWN[platform]
    if name not in readers:
        raise ValueError(f"there is no option {name!r} here; there are {', '.join(readers)}")
    if not value:
        raise ValueError(f"{name} needs a value")
    return name, readers[name](value)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"expected a number, not {text!r}")
    return int(text)


def _shape(text: str) -> VariantShape:
    least, dash, most = text.partition("-")
    return VariantShape(least=_count(least), most=_count(most if dash else least))


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError(f"expected on or off, not {text!r}")
    return text == "on"


def _plan(text: str) -> Plan:
    try:
        return Plan(text)
    except ValueError:
        raise ValueError(f"plan must be one of {', '.join(p.value for p in Plan)}, not {text!r}") from None


def _quirks(text: str) -> frozenset[FeedQuirk]:
    try:
        return frozenset(map(FeedQuirk, text.split("+")))
    except ValueError:
        raise ValueError(f"feed_quirks must be of {', '.join(q.value for q in FeedQuirk)}, not {text!r}") from None


def _woo_quirks(text: str) -> frozenset[WooQuirk]:
    try:
        return frozenset(map(WooQuirk, text.split("+")))
    except ValueError:
        raise ValueError(f"woo_quirks must be of {', '.join(q.value for q in WooQuirk)}, not {text!r}") from None


def _currency(text: str) -> str:
    if len(text) != 3 or not text.isupper():
        raise ValueError(f"currency must be an ISO 4217 code like EUR, not {text!r}")
    return text


_COMMON: dict[str, Callable[[str], Any]] = {
    "products": _count, "variants": _shape, "currency": _currency, "specials": _switch, "seed": _count,
}  # fmt: skip
_SHOPIFY: dict[str, Callable[[str], Any]] = {"plan": _plan, "token": str}
_WOOCOMMERCE: dict[str, Callable[[str], Any]] = {
    "version": str, "key": str, "secret": str, "weight_unit": str, "workers": _count, "work_ms": _count,
    "woo_quirks": _woo_quirks, "simple": _switch,
}  # fmt: skip
_BIGCOMMERCE: dict[str, Callable[[str], Any]] = {
    "quota": _count, "included_variants": _count, "token": str, "locations": _count, "backorders": _switch,
}  # fmt: skip
_FEED: dict[str, Callable[[str], Any]] = {
    "feed_format": str, "feed_quirks": _quirks, "secret": str, "token": str,
}  # fmt: skip
_OWN = {
    Platform.SHOPIFY: _SHOPIFY,
    Platform.WOOCOMMERCE: _WOOCOMMERCE,
    Platform.BIGCOMMERCE: _BIGCOMMERCE,
    Platform.FEED: _FEED,
}

HELP = f"""
A shop is given as platform:domain[:option=value,...]

  shopify:demo.myshopify.com:products=600
  woocommerce:store.example:products=800,version=8.2

Options of every shop:
  products=N      how many products (default 100; 0 is an empty shop)
  variants=A-B    variants per product of several variants (default 1-12 or 2-12); A alone for exactly A
  currency=CODE   default EUR on WooCommerce, USD elsewhere
  specials=on|off whether the difficult products are among the first ones (default on)
  seed=N          instead of --seed
Shopify:
  plan=standard|advanced|plus   the rate limit (default standard)
  token=TEXT                    default shpat_devstore_<domain>
WooCommerce:
  version={"|".join(WOO_VERSIONS)}              default 10.3; 8.2 has no /wc/v3/variations
  key=TEXT, secret=TEXT         default ck_devstore_<domain>, cs_devstore_<domain>
  simple=on|off                 whether every second product has no variations (default on)
  weight_unit=UNIT              {"|".join(WEIGHT_UNITS)} (default kg)
  workers=N, work_ms=N          a cheap host: N requests at once, each of so many milliseconds (default none)
  woo_quirks=A+B                any of {"|".join(q.value for q in WooQuirk)}
BigCommerce (bigcommerce:store-<hash>.mybigcommerce.com):
  quota=N                       requests per 30 s (default 150)
  included_variants=N           how many variants come along with their product (default 250)
  locations=N                   enabled locations that share the stock (default 2); one more is disabled
  backorders=on|off             whether the store takes backorders (default off)
  token=TEXT                    default bc_devstore_<domain>
Feed:
  feed_format=FORMAT            {"|".join(FORMATS)} (default ndjson)
  feed_quirks=A+B               any of {"|".join(q.value for q in FeedQuirk)}
  secret=TEXT, token=TEXT       what signs the feed (32 characters or more), and what opens it
"""
