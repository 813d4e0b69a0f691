"""The JSON of the WooCommerce API: its shape is that recorded from a real 8.2.2, its values equal the oracle."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.unit.devstore.conftest import Client, recorded

INDEX_FIELDS = "name,description,url,home,gmt_offset,timezone_string,namespaces,authentication"


def differences(actual: Any, expected: Any, path: str = "") -> list[str]:
    """Return where two JSON values differ in shape. Lists are compared by their first elements."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        if list(actual) != list(expected):
            return [f"{path}: {list(actual)} != {list(expected)}"]
        return [line for key in expected for line in differences(actual[key], expected[key], f"{path}.{key}")]
    if isinstance(expected, list) and isinstance(actual, list):
        return differences(actual[0], expected[0], f"{path}[0]") if actual and expected else []
    return [] if type(actual) is type(expected) else [f"{path}: {actual!r} is not like {expected!r}"]


async def product(client: Client, number: int) -> Any:
    return (await client.woo(f"wc/v3/products/{number}")).body


def of_type(name: str, kind: str) -> Any:
    rows = recorded(name)["response"]["body_json"]
    return next(row for row in rows if row["type"] == kind)


@pytest.mark.parametrize(
    ("edge_case", "recording"),
    [("leading-zero-sku", "product-simple-full"), ("variations-130", "product-variable-full")],
)
async def test_a_product_has_the_recorded_shape(client: Client, edge_case: str, recording: str) -> None:
    actual = await product(client, client.catalog("old.example").edge_case(edge_case).id)
    assert differences(actual, recorded(recording)["response"]["body_json"]) == []


@pytest.mark.parametrize("kind", ["external", "grouped"])
async def test_other_kinds_have_the_recorded_shape(client: Client, kind: str) -> None:
    actual = await product(client, client.catalog("old.example").edge_case(kind).id)
    assert differences(actual, of_type("products-full-include-types", kind)) == []


async def test_a_variable_product_without_variations_has_no_price(client: Client) -> None:
    actual = await product(client, client.catalog("old.example").edge_case("variations-0").id)
    expected = next(r for r in recorded("products-full-include-types")["response"]["body_json"] if r["id"] == 64)
    assert differences(actual, expected) == []
    for field in ("price", "purchasable", "price_html", "stock_status", "has_options", "variations"):
        assert actual[field] == expected[field]


async def test_a_variation_has_the_recorded_shape_without_name_type_and_parent(client: Client) -> None:
    parent = client.catalog("old.example").edge_case("variations-130")
    actual = (await client.woo(f"wc/v3/products/{parent.id}/variations?orderby=id&order=asc")).body
    assert differences(actual, recorded("variations-66-full")["response"]["body_json"]) == []
    single = (await client.woo(f"wc/v3/products/{parent.id}/variations/{parent.variants[0].id}")).body
    assert differences(single, recorded("variation-single")["response"]["body_json"]) == []


async def test_a_variation_can_be_requested_as_a_product(client: Client) -> None:
    parent = client.catalog("old.example").edge_case("variations-130")
    with_image = next(variant for variant in parent.variants if variant.image_id)
    actual = await product(client, with_image.id)
    assert differences(actual, recorded("product-variation-as-product")["response"]["body_json"]) == []


async def test_analytics_variations_have_name_type_and_parent(client: Client) -> None:
    actual = (await client.woo("wc-analytics/variations?per_page=2&orderby=id&order=asc")).body
    expected = recorded("variations-all-wc-analytics-full2")["response"]["body_json"]
    assert differences(actual, expected) == []


async def test_the_list_of_all_variations_of_10_3_adds_only_the_parent(client: Client) -> None:
    actual = (await client.woo("wc/v3/variations?per_page=1&orderby=id&order=asc", domain="new.example")).body
    expected = recorded("variations-66-full")["response"]["body_json"][0]
    assert set(actual[0]) - set(expected) == {"parent_id"}
    assert client.catalog("new.example").variant(actual[0]["id"])[0].id == actual[0]["parent_id"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("path", "recording"),
    [
        ("wc/v3/data/currencies/current", "data-currency-current"),
        (
            f"?_fields={INDEX_FIELDS}",
            "wp-json-index-small",
        ),
    ],
)
async def test_the_site_has_the_recorded_shape(client: Client, path: str, recording: str) -> None:
    actual, expected = (await client.woo(path)).body, recorded(recording)["response"]["body_json"]
    assert differences(dict(sorted(actual.items())), dict(sorted(expected.items()))) == []


async def test_the_currency_setting_has_the_recorded_shape(client: Client) -> None:
    actual = (await client.woo("wc/v3/settings/general/woocommerce_currency")).body
    expected = recorded("settings-currency")["response"]["body_json"]
    assert list(actual) == list(expected)
    assert (actual["value"], actual["options"]["EUR"]) == (expected["value"], expected["options"]["EUR"])


async def test_replies_have_the_recorded_headers(client: Client) -> None:
    actual = (await client.woo("wc/v3/products?per_page=1")).headers
    expected = dict(recorded("products-head-lean")["response"]["headers"])
    own = {"Server", "Date", "Connection", "Link", "X-WP-Total", "X-WP-TotalPages"}
    assert {name: actual.get(name) for name in expected if name not in own} == {
        name: value for name, value in expected.items() if name not in own
    }


async def test_the_system_status_has_the_version(client: Client) -> None:
    path = "wc/v3/system_status?_fields=environment.version"
    assert (await client.woo(path)).body == {"environment": {"version": "8.2.2"}}
    assert (await client.woo(path, domain="new.example")).body == {"environment": {"version": "10.3.5"}}


DOMAIN = "new.example"


async def pages(client: Client, route: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for page in range(1, 1_000):
        more = (await client.woo(f"{route}?per_page=100&orderby=id&order=asc&page={page}", domain=DOMAIN)).body
        rows += more
        if len(more) < 100:
            break
    return rows


async def test_the_lists_together_equal_the_oracle(client: Client) -> None:
    products = [row for row in await pages(client, "wc/v3/products") if row["type"] != "variable"]
    sold = products + await pages(client, "wc/v3/variations")
    shown = {
        (str(row["id"]), row["sku"], Decimal(row["price"]) if row["price"] else None, row["stock_quantity"])
        for row in sold
    }
    oracle = {(i.item_id, i.sku, i.price, i.stock) for i in client.catalog(DOMAIN).sellable_items()}
    assert shown == oracle
