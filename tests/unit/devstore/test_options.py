"""The `--shop` option of the command line."""

from __future__ import annotations

import pytest

from devstore.catalog.model import Platform
from devstore.options import InvalidShop, parse_shop
from devstore.spec import Plan, ShopSpec, VariantRange


def test_a_shop_has_a_platform_a_domain_and_options() -> None:
    text = (
        "shopify:demo.myshopify.com:products=600,variants=2-9,plan=plus,token=shpat_x,currency=CAD,edge_cases=off"
    )
    assert parse_shop(text, seed=3) == ShopSpec(
        platform=Platform.SHOPIFY,
        domain="demo.myshopify.com",
        products=600,
        variants=VariantRange(least=2, most=9),
        seed=3,
        currency="CAD",
        edge_cases=False,
        plan=Plan.PLUS,
        token="shpat_x",
    )


def test_options_have_defaults() -> None:
    spec = parse_shop("woocommerce:store.example", seed=7)
    assert (spec.products, spec.currency_code, spec.version) == (100, "EUR", "10.3")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("magento:x.example", "must be shopify or woocommerce"),
        ("shopify:", "must be a host name"),
        ("shopify:x.example:produtcs=5", "no option 'produtcs'"),
        ("shopify:x.example:products=-5", "expected a number"),
        ("shopify:x.example:version=8.2", "no option 'version'"),
        ("woocommerce:x.example:version=9.9", "version must be one of 8.2, 10.3"),
        ("shopify:x.example:variants=9-2", "range like 1-12"),
        ("shopify:x.example:variants=0", "at least 1"),
        ("shopify:x.example:plan=gold", "standard, advanced, plus"),
        ("shopify:x.example:edge_cases=yes", "on or off"),
        ("shopify:x.example:currency=euro", "ISO 4217"),
        ("shopify:x.example:token=", "token needs a value"),
    ],
)
def test_an_invalid_shop_is_rejected_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidShop, match=reason):
        parse_shop(text, seed=7)
