"""Which domains a WooCommerce shop may have."""

from __future__ import annotations

import pytest
from catalogsync_common.failure import InvalidRequest

from connector_svc.domain.shop import canonical_domain
from connector_svc.platforms.woocommerce import WooCommercePlatform

PATTERN = WooCommercePlatform.domain_pattern


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("store.example", "store.example"),
        ("Shop.Sub.Example.co.UK.", "shop.sub.example.co.uk"),
        ("xn--mller-kva.example", "xn--mller-kva.example"),
        ("store.xn--p1ai", "store.xn--p1ai"),
        ("1-2.shop4u.io", "1-2.shop4u.io"),
    ],
)
def test_host_names_are_accepted(raw: str, canonical: str) -> None:
    assert canonical_domain(raw, PATTERN, "store.example") == canonical


@pytest.mark.parametrize(
    "raw",
    [
        "localhost",
        "",
        ".example",
        "127.0.0.1",
        "10.0.0.0x1",
        "[::1]",
        "-a.example",
        "a-.example",
        "a..example",
        "store.example:443",
        "store.example/shop",
        "https://store.example",
        "user@store.example",
        "stör.example",
        "store.example\n",
        f"{'a' * 64}.example",
    ],
)
def test_anything_else_is_rejected(raw: str) -> None:
    with pytest.raises(InvalidRequest):
        canonical_domain(raw, PATTERN, "store.example")
