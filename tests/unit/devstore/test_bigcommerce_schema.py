"""The BigCommerce API and the connector's decoder agree with BigCommerce's own OpenAPI documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from connector_svc.platforms.bigcommerce import wire
from devstore.bigcommerce.list_query import INVENTORY_FILTERS, MAX_INVENTORY_PAGE_SIZE, PRODUCT_FILTERS
from devstore.catalog.model import Platform
from devstore.server import serving
from devstore.spec import ShopSpec
from tests.unit.devstore.conftest import client_session

OPENAPI: Final = json.loads((Path(__file__).parents[2] / "data/bigcommerce/openapi.json").read_text())
SCHEMAS: Final[dict[str, Any]] = OPENAPI["schemas"]
NULL_IN_PRACTICE: Final = {"base_variant_id", "sku_id", "map_price"}
"""Fields that are null in the documents' prose and in real replies, but not in the documents' types."""
BETA: Final = {"backorder_limit"}
"""Fields that only the guide to backorders describes."""
KINDS: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, Decimal),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}
DOMAIN: Final = "store-abc123.mybigcommerce.com"


def violations(value: Any, schema: dict[str, Any], place: str) -> Iterator[str]:
    """Yield where `value` violates `schema`."""
    schema = SCHEMAS[schema["$ref"]] if "$ref" in schema else schema
    kind = schema["type"]
    if value is None:
        if not schema.get("nullable") and place.rpartition(".")[2] not in NULL_IN_PRACTICE:
            yield f"{place} is null"
    elif type(value) not in KINDS[kind]:
        yield f"{place} is no {kind}: {value!r}"
    elif kind == "object":
        yield from _violations_of_object(value, schema, place)
    elif kind == "array":
        for inner in value:
            yield from violations(inner, schema["items"], place)
    elif value not in schema.get("enum", (value,)):
        yield f"{place} is {value!r}"
    elif kind in ("integer", "number") and not (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
    ):
        yield f"{place} is out of bounds: {value!r}"


def _violations_of_object(value: dict[str, Any], schema: dict[str, Any], place: str) -> Iterator[str]:
    known = schema.get("properties", value.keys())
    yield from (f"{place} lacks {name}" for name in schema.get("required", ()) if name not in value)
    yield from (f"{place} has an unknown {name}" for name in value.keys() - known - BETA)
    for name, inner in value.items():
        if "properties" in schema and name in known:
            yield from violations(inner, known[name], f"{place}.{name}")


REPLIES: Final = {
    "v3/catalog/products?include=variants,images&limit=250": "products",
    "v3/catalog/products?include=variants,options&limit=10": "products",
    "v3/catalog/variants?limit=250": "variants",
    "v3/inventory/items?limit=1000": "items",
    "v3/inventory/items?product_id:in=77&limit=1": "items",
    "v3/catalog/products?no_such_filter=1": "error",
}


@pytest.mark.parametrize("backorders", [False, True])
async def test_replies_have_the_shape_of_the_official_documents(tls_dir: Path, backorders: bool) -> None:
    spec = ShopSpec(platform=Platform.BIGCOMMERCE, domain=DOMAIN, products=60, locations=3, backorders=backorders)
    async with serving([spec], tls_dir=tls_dir, throttle=False) as store, client_session(store) as session:
        store.shops[DOMAIN].bigcommerce.switches.inventory_scope = True
        for path, name in REPLIES.items():
            url = f"{store.base_url(DOMAIN)}/stores/abc123/{path}"
            async with session.get(url, headers={"X-Auth-Token": spec.credentials["access_token"]}) as reply:
                body = json.loads(await reply.text(), parse_float=Decimal)
            assert list(violations(body, {"$ref": name}, name)) == [], path
            assert name == "error" or body["data"]


async def test_a_token_without_the_inventory_scope_gets_an_error_of_the_official_shape(tls_dir: Path) -> None:
    spec = ShopSpec(platform=Platform.BIGCOMMERCE, domain=DOMAIN, products=1)
    async with serving([spec], tls_dir=tls_dir, throttle=False) as store, client_session(store) as session:
        store.shops[DOMAIN].bigcommerce.switches.inventory_scope = False
        url = f"{store.base_url(DOMAIN)}/stores/abc123/v3/inventory/items"
        async with session.get(url, headers={"X-Auth-Token": spec.credentials["access_token"]}) as reply:
            assert reply.status == 403
            assert list(violations(await reply.json(), {"$ref": "error"}, "error")) == []


@pytest.mark.parametrize(
    ("row", "schema"),
    [
        (wire.ProductRow, "product"),
        (wire.VariantRow, "variant"),
        (wire.ImageRow, "image"),
        (wire.OptionValueRow, "optionValue"),
        (wire.UrlRow, "customUrl"),
        (wire.ItemRow, "item"),
        (wire.ItemIdentityRow, "itemIdentity"),
        (wire.LocationRow, "location"),
        (wire.LocationSettingsRow, "locationSettings"),
        (wire.Pagination, "pagination"),
    ],
)
def test_the_connector_decodes_only_fields_of_the_official_documents(
    row: type[msgspec.Struct], schema: str
) -> None:
    assert {one.encode_name for one in msgspec.structs.fields(row)} - BETA <= set(SCHEMAS[schema]["properties"])


def test_the_connector_knows_the_values_of_the_official_enumerations() -> None:
    product = SCHEMAS["product"]["properties"]
    assert set(product["inventory_tracking"]["enum"]) == wire.TRACKING
    assert set(product["availability"]["enum"]) == wire.AVAILABILITY


def test_lists_support_only_filters_and_limits_of_the_official_documents() -> None:
    assert set(OPENAPI["parameters"]["/catalog/products"]) >= PRODUCT_FILTERS
    assert set(OPENAPI["parameters"]["/inventory/items"]) >= INVENTORY_FILTERS
    assert OPENAPI["limits"]["/inventory/items"] == MAX_INVENTORY_PAGE_SIZE


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": 1},
        {"price": "7.30"},
        {"is_visible": 1},
        {"availability": "sometimes"},
        {"inventory_level": -1},
        {"variants": [{"id": 1}]},
        {"stock": 3},
        {"name": None},
    ],
)
def test_a_reply_of_another_shape_is_a_violation(wrong: dict[str, Any]) -> None:
    sound = {"name": "Rug", "type": "physical", "weight": 1, "price": Decimal("7.3")}
    assert list(violations(sound, {"$ref": "product"}, "product")) == []
    assert list(violations(sound | wrong, {"$ref": "product"}, "product"))
