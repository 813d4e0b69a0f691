from __future__ import annotations

from connector_svc.domain.records import IssueReason
from tests.unit.connector_svc.shopify.fake_admin import FakeAdmin, error, graphql
from tests.unit.connector_svc.shopify.nodes_json import Json, product_node
from tests.unit.connector_svc.shopify.shop_reading import reading


async def test_a_long_product_is_drained_to_its_last_variant() -> None:
    admin = FakeAdmin(products=[product_node(1, 250), product_node(2, 251), product_node(3, 30)])
    async with reading(admin) as shop:
        found = await shop.read()
    assert [len(product.variants) for product in found.products] == [250, 251, 30]
    assert all(product.variants_complete for product in found.products)
    assert admin.sizes("SingleProduct") == [2048]


async def test_a_drain_continues_when_shopify_returns_smaller_pages() -> None:
    admin = FakeAdmin(products=[product_node(1, 300)])

    def shrink_page(operation: str, variables: Json, body: Json) -> None:
        if operation == "SingleProduct":
            start = int(variables["after"] or 0)
            body["data"] = admin._singleproduct(variables | {"first": 120})
            body["data"]["product"]["variants"]["pageInfo"]["endCursor"] = str(start + 120)

    admin.on_reply = shrink_page
    async with reading(admin) as shop:
        [product] = (await shop.read()).products
    assert len({variant.id for variant in product.variants}) == 300
    assert product.variants_complete
    assert admin.count("SingleProduct") == 3


async def test_a_miscounted_product_is_read_once_more() -> None:
    admin = FakeAdmin(products=[product_node(1, 3)])

    def omit_variant(operation: str, variables: Json, body: Json) -> None:
        if operation == "ProductPage":
            del body["data"]["products"]["nodes"][0]["variants"]["nodes"][1]

    admin.on_reply = omit_variant
    async with reading(admin) as shop:
        found = await shop.read()
    [product] = found.products
    assert len(product.variants) == 3
    assert product.variants_complete
    assert found.issues == []


async def test_a_product_that_stays_miscounted_is_delivered_and_marked_as_incomplete() -> None:
    admin = FakeAdmin(products=[product_node(1, 3, variantsCount={"count": 4, "precision": "EXACT"})])
    async with reading(admin) as shop:
        found = await shop.read()
    [product] = found.products
    assert (len(product.variants), product.variants_complete) == (3, False)
    [issue] = found.issues
    assert (issue.reason, issue.product_rejected) == (IssueReason.INCOMPLETE_VARIANTS, False)
    assert admin.count("SingleProduct") == 1


async def test_a_drained_product_with_missing_variants_is_read_only_once_more() -> None:
    admin = FakeAdmin(products=[product_node(1, 300, variantsCount={"count": 301, "precision": "EXACT"})])
    async with reading(admin) as shop:
        found = await shop.read()
    assert admin.count("SingleProduct") == 2
    assert (len(found.products[0].variants), found.products[0].variants_complete) == (300, False)


async def test_a_count_that_is_a_lower_bound_allows_more_variants() -> None:
    admin = FakeAdmin(products=[product_node(1, 3, variantsCount={"count": 2, "precision": "AT_LEAST"})])
    async with reading(admin) as shop:
        found = await shop.read()
    assert found.products[0].variants_complete
    assert admin.count("SingleProduct") == 0


async def test_a_product_deleted_while_it_is_drained_is_neither_delivered_nor_rejected() -> None:
    admin = FakeAdmin(products=[product_node(1, 300), product_node(2)])

    def delete_product(operation: str, variables: Json, body: Json) -> None:
        if operation == "ProductPage":
            admin.products = admin.products[-1:]

    admin.on_reply = delete_product
    async with reading(admin) as shop:
        found = await shop.read()
    assert found.ids == ["2"]
    assert (found.end.source_count, found.end.emitted_count, found.end.rejected_count) == (1, 1, 0)


async def test_a_product_that_cannot_be_drained_is_delivered_with_the_variants_that_arrived() -> None:
    admin = FakeAdmin(products=[product_node(1, 300)])
    admin.permanent_fault = lambda operation, _: (
        graphql([error("INTERNAL_SERVER_ERROR")]) if operation == "SingleProduct" else None
    )
    async with reading(admin) as shop:
        found = await shop.read()
    assert (len(found.products[0].variants), found.products[0].variants_complete) == (250, False)
    assert [issue.reason for issue in found.issues] == [IssueReason.INCOMPLETE_VARIANTS]
    assert admin.sizes("SingleProduct")[:3] == [2048, 1024, 512]


async def test_a_drained_product_with_one_invalid_variant_loses_only_that_variant() -> None:
    admin = FakeAdmin(products=[product_node(1, 300)])
    admin.products[0]["variants"]["nodes"][270]["price"] = "free"
    async with reading(admin) as shop:
        found = await shop.read()
    assert (len(found.products[0].variants), found.products[0].variants_complete) == (299, False)
    assert [(issue.reason, issue.sample) for issue in found.issues] == [(IssueReason.INVALID_PRICE, "free")]
