"""The WooCommerce face has the fields, in the order and of the types, that a real 8.2.2 was recorded with."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.devstore.conftest import Client, recorded

INDEX_FIELDS = "name,description,url,home,gmt_offset,timezone_string,namespaces,authentication"


def differences(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """Where two JSON values are not of the same shape. Lists are compared by their first elements."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        if list(ours) != list(theirs):
            return [f"{path}: {list(ours)} != {list(theirs)}"]
        return [line for key in theirs for line in differences(ours[key], theirs[key], f"{path}.{key}")]
    if isinstance(theirs, list) and isinstance(ours, list):
        return differences(ours[0], theirs[0], f"{path}[0]") if ours and theirs else []
    return [] if type(ours) is type(theirs) else [f"{path}: {ours!r} is not like {theirs!r}"]


async def product(client: Client, number: int) -> Any:
    return (await client.woo(f"wc/v3/products/{number}")).body


def of_type(name: str, kind: str) -> Any:
    rows = recorded(name)["response"]["body_json"]
    return next(row for row in rows if row["type"] == kind)


@pytest.mark.parametrize(
    ("special", "recording"),
    [("leading-zero-sku", "product-simple-full"), ("variations-130", "product-variable-full")],
)
async def test_a_product_has_the_recorded_shape(client: Client, special: str, recording: str) -> None:
    ours = await product(client, client.catalog("old.example").edge_case(special).id)
    assert differences(ours, recorded(recording)["response"]["body_json"]) == []


@pytest.mark.parametrize("kind", ["external", "grouped"])
async def test_other_kinds_have_the_recorded_shape(client: Client, kind: str) -> None:
    ours = await product(client, client.catalog("old.example").edge_case(kind).id)
    assert differences(ours, of_type("products-full-include-types", kind)) == []


async def test_a_variable_product_without_variations_has_no_price(client: Client) -> None:
    ours = await product(client, client.catalog("old.example").edge_case("variations-0").id)
    theirs = next(r for r in recorded("products-full-include-types")["response"]["body_json"] if r["id"] == 64)
    assert differences(ours, theirs) == []
    for field in ("price", "purchasable", "price_html", "stock_status", "has_options", "variations"):
        assert ours[field] == theirs[field]


async def test_a_variation_has_the_recorded_shape_without_name_type_and_parent(client: Client) -> None:
    parent = client.catalog("old.example").edge_case("variations-130")
    ours = (await client.woo(f"wc/v3/products/{parent.id}/variations?orderby=id&order=asc")).body
    assert differences(ours, recorded("variations-66-full")["response"]["body_json"]) == []
    single = (await client.woo(f"wc/v3/products/{parent.id}/variations/{parent.variants[0].id}")).body
    assert differences(single, recorded("variation-single")["response"]["body_json"]) == []


async def test_a_variation_answers_as_a_product_too(client: Client) -> None:
    parent = client.catalog("old.example").edge_case("variations-130")
    with_image = next(variant for variant in parent.variants if variant.image_id)
    ours = await product(client, with_image.id)
    assert differences(ours, recorded("product-variation-as-product")["response"]["body_json"]) == []


async def test_analytics_variations_have_name_type_and_parent(client: Client) -> None:
    ours = (await client.woo("wc-analytics/variations?per_page=2&orderby=id&order=asc")).body
    theirs = recorded("variations-all-wc-analytics-full2")["response"]["body_json"]
    assert differences(ours, theirs) == []


async def test_the_new_list_of_all_variations_adds_only_the_parent(client: Client) -> None:
    ours = (await client.woo("wc/v3/variations?per_page=1&orderby=id&order=asc", domain="new.example")).body
    theirs = recorded("variations-66-full")["response"]["body_json"][0]
    assert set(ours[0]) - set(theirs) == {"parent_id"}
    assert client.catalog("new.example").variant(ours[0]["id"])[0].id == ours[0]["parent_id"]  # type: ignore[index]


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
    ours, theirs = (await client.woo(path)).body, recorded(recording)["response"]["body_json"]
    assert differences(dict(sorted(ours.items())), dict(sorted(theirs.items()))) == []


async def test_the_currency_setting_has_the_recorded_shape(client: Client) -> None:
    ours = (await client.woo("wc/v3/settings/general/woocommerce_currency")).body
    theirs = recorded("settings-currency")["response"]["body_json"]
    assert list(ours) == list(theirs)
    assert (ours["value"], ours["options"]["EUR"]) == (theirs["value"], theirs["options"]["EUR"])


async def test_replies_carry_the_recorded_headers(client: Client) -> None:
    ours = (await client.woo("wc/v3/products?per_page=1")).headers
    theirs = dict(recorded("products-head-lean")["response"]["headers"])
    own = {"Server", "Date", "Connection", "Link", "X-WP-Total", "X-WP-TotalPages"}
    assert {name: ours.get(name) for name in theirs if name not in own} == {
        name: value for name, value in theirs.items() if name not in own
    }


async def test_the_version_is_told_by_the_system_status(client: Client) -> None:
    path = "wc/v3/system_status?_fields=environment.version"
    assert (await client.woo(path)).body == {"environment": {"version": "8.2.2"}}
    assert (await client.woo(path, domain="new.example")).body == {"environment": {"version": "10.3.5"}}
