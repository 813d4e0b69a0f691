"""Parse a shop of the command line: `platform:domain:option=value,...`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from devstore.catalog.model import Platform
from devstore.feed.quirks import FORMATS, FeedQuirk
from devstore.spec import WEIGHT_UNITS, WOO_VERSIONS, Plan, ShopSpec, VariantRange
from devstore.woocommerce.quirks import WooQuirk


class InvalidShop(ValueError):
    """An invalid `--shop` option; the message says why and what is valid."""


def parse_shop(text: str, *, seed: int) -> ShopSpec:
    """Return the spec that the text of a `--shop` option describes.

    Args:
        text: For example `shopify:demo.myshopify.com:products=600,plan=plus`.
        seed: The seed of the catalog unless the text has a seed of its own.

    Raises:
        InvalidShop: The platform, an option or a value is unknown.
    """
    platform_name, _, rest = text.partition(":")
    domain, _, options = rest.partition(":")
    try:
        platform = Platform(platform_name)
    except ValueError:
        known = " or ".join(platform.value for platform in Platform)
        raise InvalidShop(f"--shop {text!r}: the platform must be {known}, not {platform_name!r}") from None
    try:
        changes = dict(_parse_option(platform, pair) for pair in options.split(",") if pair)
        return replace(ShopSpec(platform=platform, domain=domain, seed=seed), **changes)
    except ValueError as error:
        raise InvalidShop(f"--shop {text!r}: {error}") from None


def _parse_option(platform: Platform, pair: str) -> tuple[str, Any]:
    name, _, value = pair.partition("=")
    parsers = _COMMON_OPTIONS | _PLATFORM_OPTIONS[platform]
    if name not in parsers:
        raise ValueError(f"there is no option {name!r} for {platform.value}; the options are {', '.join(parsers)}")
    if not value:
        raise ValueError(f"{name} needs a value")
    return name, parsers[name](value)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"expected a number, not {text!r}")
    return int(text)


def _variant_range(text: str) -> VariantRange:
    least, dash, most = text.partition("-")
    return VariantRange(least=_count(least), most=_count(most if dash else least))


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError(f"expected on or off, not {text!r}")
    return text == "on"


def _plan(text: str) -> Plan:
    try:
        return Plan(text)
    except ValueError:
        raise ValueError(f"plan must be one of {', '.join(p.value for p in Plan)}, not {text!r}") from None


def _feed_quirks(text: str) -> frozenset[FeedQuirk]:
    try:
        return frozenset(map(FeedQuirk, text.split("+")))
    except ValueError:
        known = ", ".join(quirk.value for quirk in FeedQuirk)
        raise ValueError(f"feed_quirks must be some of {known}, joined by +, not {text!r}") from None


def _woo_quirks(text: str) -> frozenset[WooQuirk]:
    try:
        return frozenset(map(WooQuirk, text.split("+")))
    except ValueError:
        known = ", ".join(quirk.value for quirk in WooQuirk)
        raise ValueError(f"woo_quirks must be some of {known}, joined by +, not {text!r}") from None


def _currency(text: str) -> str:
    if len(text) != 3 or not text.isupper():
        raise ValueError(f"currency must be an ISO 4217 code like EUR, not {text!r}")
    return text


_Parsers = dict[str, Callable[[str], Any]]
_COMMON_OPTIONS: _Parsers = {
    "products": _count, "variants": _variant_range, "currency": _currency, "edge_cases": _switch, "seed": _count,
}  # fmt: skip
_SHOPIFY: _Parsers = {"plan": _plan, "token": str}
_WOOCOMMERCE: _Parsers = {
    "version": str, "key": str, "secret": str, "weight_unit": str, "workers": _count, "work_ms": _count,
    "woo_quirks": _woo_quirks, "simple": _switch, "key_writes": _switch,
}  # fmt: skip
_BIGCOMMERCE: _Parsers = {
    "quota": _count, "included_variants": _count, "token": str, "locations": _count, "backorders": _switch,
}  # fmt: skip
_FEED: _Parsers = {"feed_format": str, "feed_quirks": _feed_quirks, "secret": str, "token": str}
_PLATFORM_OPTIONS = {
    Platform.SHOPIFY: _SHOPIFY,
    Platform.WOOCOMMERCE: _WOOCOMMERCE,
    Platform.BIGCOMMERCE: _BIGCOMMERCE,
    Platform.FEED: _FEED,
}

HELP = f"""
A SHOP is platform:domain[:option=value,...]; the platforms are shopify, woocommerce, bigcommerce and feed:

  shopify:demo.myshopify.com:products=600
  woocommerce:store.example:products=800,version=8.2

Options of every shop:
  products=N            number of products (default 100; 0 is an empty shop)
  variants=A-B          variants of a product with variants (default 1-12, WooCommerce 2-12); A alone: exactly A
  currency=CODE         ISO 4217 code (default EUR on WooCommerce, USD elsewhere)
  edge_cases=on|off     whether edge-case products are among the first ones (default on)
  seed=N                seed of this shop's catalog instead of --seed
Shopify:
  plan=standard|advanced|plus   decides the rate limit (default standard)
  token=TEXT                    access token (default shpat_devstore_<domain>)
WooCommerce:
  version={"|".join(WOO_VERSIONS)}              WooCommerce version (default 10.3); 8.2 has no /wc/v3/variations
  key=TEXT, secret=TEXT         consumer key and secret (default ck_devstore_<domain>, cs_devstore_<domain>)
  key_writes=on|off             whether the key may write too, which creating webhooks needs (default off)
  simple=on|off                 whether every second product has no variations (default on)
  weight_unit=UNIT              {"|".join(WEIGHT_UNITS)} (default kg)
  workers=N, work_ms=N          a shared host with N PHP workers that need work_ms milliseconds per request
                                (default 0, 50; 0 workers: no limit and no delay)
  woo_quirks=A+B                any of {"|".join(q.value for q in WooQuirk)}
BigCommerce (bigcommerce:store-<hash>.mybigcommerce.com):
  quota=N                       requests per 30 s (default 150)
  included_variants=N           maximum of variants that are included in their product (default 250)
  locations=N                   enabled locations that share the stock (default 2); one more is disabled
  backorders=on|off             whether the store takes backorders (default off)
  token=TEXT                    access token (default bc_devstore_<domain>)
Feed:
  feed_format=FORMAT            {"|".join(FORMATS)} (default ndjson)
  feed_quirks=A+B               any of {"|".join(q.value for q in FeedQuirk)}
  secret=TEXT                   signing secret, 32 characters or more
  token=TEXT                    bearer token (default feed_devstore_<domain>)
"""
