"""`catalogsync products|product`, and searches, against a fake service."""

from __future__ import annotations

import pytest
from catalogsync.catalog.v1.catalog_service_pb2 import Item, Product, ProductImage, ProductOption
from catalogsync.types.v1.product_pb2 import PRODUCT_STATUS_ACTIVE, Money

from tests.fakes.catalog_service import FailureWithReason, FakeCatalog, timestamp
from tests.unit.cli.conftest import CommandLine

NAME = "shopify:demo.myshopify.com"


@pytest.fixture
def products(catalog: FakeCatalog) -> list[Product]:
    stored = [
        Product(
            product_id=str(number),
            title=f"Shirt {number}" if number % 2 else f"Hat {number}",
            vendor="Acme",
            status=PRODUCT_STATUS_ACTIVE,
            tags=["new", "red"],
            description_html="<p>Warm</p>",
            options=[ProductOption(name="Size", values=["S", "M"])],
            images=[ProductImage(url="https://cdn.example/1.jpg")],
            items=[Item(item_id=f"{number}-1", product_id=str(number), price=Money(amount="7.30"))],
        )
        for number in range(300)
    ]
    stored[7].delete_time.CopyFrom(timestamp(1_700_009_999))
    catalog.products[NAME] = stored
    return stored


@pytest.mark.usefixtures("products")
async def test_products_are_listed_and_filtered(run: CommandLine) -> None:
    result = await run("products", NAME, "--text", "shirt", "--limit", "4")
    assert result.code == 0
    for text in ("PRODUCT", "Shirt 1", "Acme", "ACTIVE"):
        assert text in result.out
    assert "Hat" not in result.out
    assert "more than 4" in result.err
    listed = await run("products", NAME, "--limit", "300", "--json")
    assert [document["productId"] for document in listed.documents] == [str(n) for n in range(300) if n != 7]
    assert listed.documents[0]["items"][0]["itemId"] == "0-1"
    assert len((await run("products", NAME, "--deleted", "--limit", "300", "--json")).documents) == 300


@pytest.mark.usefixtures("products")
async def test_one_product_is_shown_with_its_items(run: CommandLine) -> None:
    result = await run("product", NAME, "7")
    assert result.code == 0
    for text in ("Shirt 7", "new, red", "Size: S, M", "https://cdn.example/1.jpg", "<p>Warm</p>", "7-1", "7.30"):
        assert text in result.out
    assert "2023-11-15" in result.out
    assert (await run("product", NAME, "7", "--json")).documents[0]["options"][0]["values"] == ["S", "M"]
    assert (await run("product", NAME, "x")).code == 3


async def test_a_search_that_the_service_cannot_do_is_no_broken_shop(
    catalog: FakeCatalog, run: CommandLine
) -> None:
    catalog.errors["ListProducts"] = [FailureWithReason("TEXT_SEARCH_UNAVAILABLE", "pg_trgm is not installed")]
    result = await run("products", NAME, "--text", "shirt")
    assert result.code == 70
    assert "pg_trgm" in result.err
