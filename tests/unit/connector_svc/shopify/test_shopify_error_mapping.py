from __future__ import annotations

import logging

import pytest
from aiohttp import web

from connector_svc.domain.errors import (
    CredentialsNotFound,
    SourceFailure,
    SourceForbidden,
    SourceNotFound,
    SourceQueryRefused,
    SourceRateLimited,
    SourceRedirected,
    SourceResponseInvalid,
    SourceUnauthorized,
    SourceUnreachable,
)
from connector_svc.domain.fetch import WaitReason
from connector_svc.domain.records import IssueReason
from tests.unit.connector_svc.shopify.fake_admin import FakeAdmin, error, graphql, html, number, reply, status
from tests.unit.connector_svc.shopify.nodes_json import Json, product_node
from tests.unit.connector_svc.shopify.shop_reading import SHOP, reading


def shop_of(count: int, variants: int = 1) -> FakeAdmin:
    return FakeAdmin(products=[product_node(n, variants) for n in range(1, count + 1)])


@pytest.mark.parametrize(
    ("response", "failure", "text"),
    [
        (status(402), SourceForbidden, "unpaid bill"),
        (status(403), SourceForbidden, "403"),
        (status(404), SourceNotFound, "no such shop"),
        (status(423), SourceForbidden, "locked"),
        (status(418), SourceQueryRefused, "HTTP 418"),
        (status(408), SourceUnreachable, "does not answer"),
        (status(430), SourceRateLimited, "asks us to wait"),
        (status(503), SourceUnreachable, "does not answer"),
        (status(520), SourceUnreachable, "HTTP 520"),
        (web.Response(status=204), SourceResponseInvalid, "HTTP 204"),
        (web.Response(status=302, headers={"Location": "https://else.example/"}), SourceRedirected, "else"),
        (html(), SourceResponseInvalid, "not its API"),
        (web.Response(body=b'{"data":{"shop'), SourceUnreachable, "truncated"),
        (web.Response(body=b"[" * 100_000), SourceResponseInvalid, "not its API"),
        (web.Response(body=b""), SourceResponseInvalid, "not its API"),
        (reply({}), SourceResponseInvalid, "neither data nor errors"),
        (reply({"data": {"shop": 5}}), SourceResponseInvalid, "schema"),
        (reply({"errors": "Not Found"}), SourceQueryRefused, "no code"),
        (graphql([error("undefinedField", "query", "shop")]), SourceQueryRefused, "undefinedField"),
    ],
    ids=str,
)
async def test_an_invalid_reply_becomes_a_failure_that_names_its_cause(
    response: web.Response, failure: type[SourceFailure], text: str
) -> None:
    admin = shop_of(1)
    admin.permanent_fault = lambda *_: web.Response(
        body=response.body, status=response.status, headers=response.headers
    )
    async with reading(admin) as shop:
        with pytest.raises(failure, match=text) as raised:
            await shop.platform.check(SHOP)
    assert type(raised.value) is failure
    assert "right" not in str(raised.value)


@pytest.mark.parametrize("operation", ["PassStart", "ProductPage", "ProductCount"])
@pytest.mark.parametrize("body", [b'{"data":{"shop', b"", b"<html>"], ids=["cut", "empty", "page"])
async def test_a_reply_that_cannot_be_decoded_is_requested_again(operation: str, body: bytes) -> None:
    admin = shop_of(5)
    left = 2

    def corrupt(operation_asked: str, variables: Json) -> web.Response | None:
        nonlocal left
        if operation_asked != operation or not left:
            return None
        left -= 1
        return web.Response(body=body)

    admin.permanent_fault = corrupt
    async with reading(admin) as shop:
        found = await shop.read()
    assert found.ids == ["1", "2", "3", "4", "5"]
    assert left == 0
    assert admin.sizes("ProductPage")[0] == admin.sizes("ProductPage")[-1], "no smaller page was requested"
    assert WaitReason.SOURCE_UNREACHABLE in {wait.reason for wait in shop.waits}


async def test_a_permanent_web_page_fails_the_pass_after_a_few_attempts() -> None:
    admin = shop_of(5)
    admin.permanent_fault = lambda operation, _: html() if operation == "ProductPage" else None
    async with reading(admin) as shop:
        with pytest.raises(SourceResponseInvalid):
            await shop.read()
    assert 1 < admin.count("ProductPage") < 10


async def test_refused_credentials_are_requested_once_more() -> None:
    async with reading(shop_of(2), tokens=("old", "right")) as shop:
        found = await shop.read()
    assert found.ids == ["1", "2"]
    assert sum(refused is not None for refused in shop.tokens.refused_credentials) == 1


async def test_credentials_may_change_during_a_pass() -> None:
    admin = shop_of(6)

    def rotate(operation: str, variables: Json, body: Json) -> None:
        admin.token = "next" if operation == "ProductPage" else admin.token

    admin.on_reply = rotate
    async with reading(admin, tokens=("right", "next")) as shop:
        assert (await shop.read(batch=2)).end.emitted_count == 6


async def test_credentials_refused_twice_fail_the_pass_as_unauthorized() -> None:
    async with reading(shop_of(1), tokens=("old", "older")) as shop:
        with pytest.raises(SourceUnauthorized):
            await shop.read()
    assert len(shop.admin.calls) == 2


async def test_credentials_without_an_access_token_are_not_found() -> None:
    async with reading(shop_of(1)) as shop:

        async def other_keys(*_: object, **__: object) -> dict[str, object]:
            return {"consumer_key": object()}

        shop.tokens.credentials = other_keys  # type: ignore[method-assign, assignment]
        with pytest.raises(CredentialsNotFound, match="access_token"):
            await shop.platform.check(SHOP)


async def test_without_read_products_the_missing_scope_is_named() -> None:
    admin = shop_of(1)
    admin.scopes = ("read_orders",)
    async with reading(admin) as shop:
        with pytest.raises(SourceForbidden) as failure:
            await shop.read()
    assert failure.value.metadata["missing"] == "read_products"


async def test_a_denied_field_names_the_missing_scope() -> None:
    admin = shop_of(1)
    denied = error("ACCESS_DENIED", "products")
    denied["extensions"]["requiredAccess"] = "`read_products` access scope."
    admin.permanent_fault = lambda *_: graphql([denied], data={"products": None})
    async with reading(admin) as shop:
        with pytest.raises(SourceForbidden) as failure:
            await shop.read()
    assert failure.value.metadata["missing"] == "read_products"


async def test_a_shop_that_refuses_inventory_items_is_read_without_them() -> None:
    admin = shop_of(1)
    denied = graphql([error("ACCESS_DENIED", "productVariants", "nodes", 0, "inventoryItem")], data={})
    admin.permanent_fault = lambda operation, _: (
        web.Response(body=denied.body, headers=denied.headers) if operation == "InventoryProbe" else None
    )
    admin.scopes = ("write_products",)
    del admin.products[0]["variants"]["nodes"][0]["inventoryItem"]
    async with reading(admin) as shop:
        found = await shop.read()
    assert "read_inventory" in found.header.shop_info.notes[0]
    assert found.products[0].variants[0].weight is None
    assert found.products[0].variants[0].stock_quantity == 5


async def test_another_shop_behind_the_domain_is_a_redirect() -> None:
    admin = shop_of(1)
    admin.domain = "new-name.myshopify.com"
    async with reading(admin) as shop:
        with pytest.raises(SourceRedirected, match=r"new-name\.myshopify\.com"):
            await shop.read()


async def test_a_newer_version_is_used_but_forbids_deletions(caplog: pytest.LogCaptureFixture) -> None:
    admin = shop_of(2)
    admin.version = "2027-01"
    with caplog.at_level(logging.WARNING):
        async with reading(admin) as shop:
            found = await shop.read()
    assert found.header.shop_info.served_api_version == "2027-01"
    assert "2027-01" in found.header.shop_info.notes[0]
    assert "2027-01" in found.end.warnings[0]
    assert found.ids == ["1", "2"]
    assert len([record for record in caplog.records if "version" in record.message]) == 1


async def test_an_older_version_is_refused() -> None:
    admin = shop_of(2)
    admin.version = "2026-01"
    async with reading(admin) as shop:
        with pytest.raises(SourceQueryRefused, match="2026-01"):
            await shop.read()


@pytest.mark.parametrize("code", ["INTERNAL_SERVER_ERROR", "MAX_COST_EXCEEDED"])
async def test_a_page_that_cannot_be_served_is_halved(code: str) -> None:
    admin = shop_of(30)
    admin.permanent_fault = lambda operation, variables: (
        graphql([error(code)]) if operation == "ProductPage" and variables["first"] > 70 else None
    )
    async with reading(admin) as shop:
        found = await shop.read()
    assert found.end.emitted_count == 30
    assert admin.sizes("ProductPage") == [250, 125, 62]


async def test_the_request_id_of_an_internal_error_is_logged_for_shopifys_support(
    caplog: pytest.LogCaptureFixture,
) -> None:
    admin = shop_of(1)
    failed = error("INTERNAL_SERVER_ERROR")
    failed["extensions"]["requestId"] = "abc-1"
    admin.faults.extend([lambda *_: None, lambda *_: graphql([failed])])
    async with reading(admin) as shop:
        await shop.read()
    assert [
        getattr(record, "request_id", "") for record in caplog.records if "internal error" in record.message
    ] == ["abc-1"]


async def test_a_page_grows_again_after_an_internal_error_but_not_beyond_the_maximum_cost() -> None:
    admin = shop_of(40)
    admin.faults.extend(
        [
            lambda *_: None,
            lambda *_: graphql([error("MAX_COST_EXCEEDED")]),
            lambda *_: graphql([error("INTERNAL_SERVER_ERROR")]),
        ]
    )
    async with reading(admin) as shop:
        found = await shop.read(batch=16)
    assert found.end.emitted_count == 40
    assert admin.sizes("ProductPage")[:5] == [16, 8, 4, 8, 8]


async def test_a_page_whose_reply_is_too_large_is_halved() -> None:
    admin = FakeAdmin(products=[product_node(n, descriptionHtml="x" * 30_000) for n in range(1, 21)])
    async with reading(admin) as shop:
        found = await shop.read(batch=16)
    assert found.end.emitted_count == 20
    assert admin.sizes("ProductPage")[:3] == [16, 8, 4]


async def test_one_product_that_shopify_cannot_deliver_is_rejected_alone() -> None:
    admin = shop_of(9)

    def fail_product_5(operation: str, variables: Json) -> web.Response | None:
        if operation == "SingleProduct" and variables["id"].endswith("/5"):
            return graphql([error("INTERNAL_SERVER_ERROR")])
        if operation != "ProductPage":
            return None
        rest = [node for node in admin.products if number(node) > int(variables["after"] or 0)]
        contains_product_5 = any(number(node) == 5 for node in rest[: variables["first"]])
        return graphql([error("INTERNAL_SERVER_ERROR")]) if contains_product_5 else None

    admin.permanent_fault = fail_product_5
    async with reading(admin) as shop:
        found = await shop.read(batch=4)
    assert found.ids == ["1", "2", "3", "4", "6", "7", "8", "9"]
    assert [(issue.product_id, issue.reason) for issue in found.issues] == [("5", IssueReason.SOURCE_ERROR)]
    assert (found.end.emitted_count, found.end.rejected_count) == (8, 1)


async def test_when_no_product_can_be_delivered_shopify_is_unreachable() -> None:
    admin = shop_of(20)
    admin.permanent_fault = lambda operation, _: (
        graphql([error("INTERNAL_SERVER_ERROR")]) if operation in {"ProductPage", "SingleProduct"} else None
    )
    async with reading(admin) as shop:
        with pytest.raises(SourceUnreachable, match="internal errors"):
            await shop.read(batch=2)


async def test_a_shop_that_never_answers_is_unreachable_after_one_smaller_page() -> None:
    admin = shop_of(20)
    admin.permanent_fault = lambda operation, _: status(503) if operation == "ProductPage" else None
    async with reading(admin) as shop:
        with pytest.raises(SourceUnreachable):
            await shop.read()
    assert admin.sizes("ProductPage") == [250, 250, 25, 25]
    assert {wait.reason for wait in shop.waits} == {WaitReason.SOURCE_UNREACHABLE}


async def test_an_error_about_one_product_rejects_only_that_product() -> None:
    admin = shop_of(3)

    def report_error(operation: str, variables: Json, body: Json) -> None:
        if operation == "ProductPage":
            body["errors"] = [error("INTERNAL_SERVER_ERROR", "products", "nodes", 1, "onlineStoreUrl")]
        if operation == "SingleProduct":
            body["errors"] = [error("INTERNAL_SERVER_ERROR", "product", "onlineStoreUrl")]

    admin.on_reply = report_error
    async with reading(admin) as shop:
        found = await shop.read()
    assert found.ids == ["1", "3"]
    [issue] = found.issues
    assert (issue.reason, issue.product_id, issue.field) == (IssueReason.SOURCE_ERROR, "2", "onlineStoreUrl")
    assert found.end.rejected_count == 1


async def test_an_error_about_one_variant_drops_only_that_variant() -> None:
    admin = shop_of(2, 3)

    def report_error(operation: str, variables: Json, body: Json) -> None:
        path = ["product"] if operation == "SingleProduct" else ["products", "nodes", 1]
        if operation in {"ProductPage", "SingleProduct"}:
            body["errors"] = [error("INTERNAL_SERVER_ERROR", *path, "variants", "nodes", 2, "sku")]

    admin.on_reply = report_error
    async with reading(admin) as shop:
        found = await shop.read()
    assert [len(product.variants) for product in found.products] == [3, 2]
    assert [product.variants_complete for product in found.products] == [True, False]
    assert [issue.variant_id for issue in found.issues] == ["20002"]


async def test_a_transient_error_about_one_product_is_resolved_by_reading_it_alone() -> None:
    admin = shop_of(3)

    def report_error(operation: str, variables: Json, body: Json) -> None:
        if operation == "ProductPage":
            body["errors"] = [error("INTERNAL_SERVER_ERROR", "products", "nodes", 1, "onlineStoreUrl")]

    admin.on_reply = report_error
    async with reading(admin) as shop:
        found = await shop.read()
    assert found.ids == ["1", "2", "3"]
    assert found.issues == []
