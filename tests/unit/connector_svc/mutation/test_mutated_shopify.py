"""A mutated Shopify node is either delivered as it was sent or reported as an issue."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest

from connector_svc.domain.product import Image, Product, Variant
from connector_svc.domain.records import SAMPLE_LENGTH
from connector_svc.platforms.base import HttpReply
from connector_svc.platforms.shopify.graphql_response import decode_response
from connector_svc.platforms.shopify.node_decoding import DecodedNode, decode_page, decode_product
from connector_svc.platforms.shopify.parse import DEFAULT_TITLE, Record, to_record
from tests.unit.connector_svc.mutation import campaign
from tests.unit.connector_svc.mutation.independent_reader import check_amount, children, is_text, sent
from tests.unit.connector_svc.mutation.mutator import encoded


def number(gid: Any) -> str:
    return str(gid).rpartition("/")[2]


def reply(data: Any) -> HttpReply:
    return HttpReply(status=200, headers={}, body=encoded({"data": data}))


def read_page(nodes: list[Any]) -> tuple[list[DecodedNode], list[Any]]:
    """Return the decoded page, and what was sent according to a simple decoder."""
    answer = reply({"products": {"nodes": nodes, "pageInfo": {"hasNextPage": False}}})
    data = decode_response(answer).data
    assert data is not None
    return decode_page(data, ())[0], sent(answer.body)["data"]["products"]["nodes"]


def check_record(record: Record, node: Any) -> None:
    rejected = [issue for issue in record.issues if issue.product_rejected]
    assert len(rejected) == (record.product is None)
    for issue in record.issues:
        assert issue.message
        assert is_text(issue.sample + issue.field + issue.message)
        assert len(issue.sample) <= SAMPLE_LENGTH
    if record.product is None:
        return
    product = record.product
    check_product(product, node)
    nodes = children(node, "variants", "nodes")
    duplicates = sum(issue.reason.name == "DUPLICATE_ID" for issue in record.issues)
    dropped = len(nodes) - len(product.variants) - duplicates
    assert dropped >= 0
    assert product.variants_complete == (dropped == 0)
    assert sum(1 for issue in record.issues if issue.reason.name != "DUPLICATE_ID") >= dropped
    for variant in product.variants:
        same = [one for one in nodes if isinstance(one, dict) and number(one.get("id")) == variant.id]
        check_one_of(variant, same)


def check_one_of(variant: Variant, nodes: list[Any]) -> None:
    """Check that the variant equals one of the nodes with its id."""
    for node in nodes[:-1]:
        with suppress(AssertionError):
            return check_variant(variant, node)
    return check_variant(variant, nodes[-1])


def check_product(product: Product, node: Any) -> None:
    assert node["id"] == f"gid://shopify/Product/{product.id}"
    texts = (product.title, product.handle, product.description_html, product.vendor, product.product_type)
    assert texts == tuple(node[name] for name in ("title", "handle", "descriptionHtml", "vendor", "productType"))
    assert product.url == (node["onlineStoreUrl"] or "")
    assert list(product.tags) == node["tags"]
    assert product.status.value == node["status"]
    assert node["status"] in ("ACTIVE", "UNLISTED") or not any(one.available for one in product.variants)
    assert product.updated_at == datetime.fromisoformat(node["updatedAt"])
    assert product.created_at == datetime.fromisoformat(node["createdAt"])
    options = [{"name": option.name, "values": list(option.values)} for option in product.options]
    sent_options = [{"name": one["name"], "values": one["values"]} for one in node["options"]]
    assert options == sent_options or (
        not options and sent_options == [{"name": "Title", "values": [DEFAULT_TITLE]}]
    )
    media = {one["id"]: one for one in node["media"]["nodes"]}
    for image in product.images:
        check_image(image, media.values())


def check_image(image: Image, media: Any) -> None:
    sent_media = [one for one in media if one.get("image") and one["image"]["url"] == image.url]
    assert image.url.startswith(("https://", "http://"))
    assert any((one.get("alt") or "") == image.alt_text for one in sent_media)


def check_variant(variant: Variant, node: Any) -> None:
    assert node["id"] == f"gid://shopify/ProductVariant/{variant.id}"
    assert variant.title == ("" if node["title"] == DEFAULT_TITLE else node["title"])
    assert (variant.sku, variant.barcode) == (node["sku"] or "", node["barcode"] or "")
    assert node["price"] is not None
    check_amount(variant.price, node["price"])
    check_amount(variant.compare_at_price, node["compareAtPrice"])
    tracked = (node.get("inventoryItem") or {"tracked": True})["tracked"]
    assert type(tracked) is bool
    assert variant.stock_quantity == (node["inventoryQuantity"] if tracked else None)
    assert type(node["inventoryQuantity"]) in (int, type(None))
    assert variant.inventory_policy.value == node["inventoryPolicy"]
    assert node["availableForSale"] is True or not variant.available
    assert variant.position == node["position"]
    assert variant.updated_at == datetime.fromisoformat(node["updatedAt"])
    options = [(option.name, option.value) for option in variant.options]
    assert options in ([(one["name"], one["value"]) for one in node["selectedOptions"]], [])
    if variant.weight is not None:
        check_amount(variant.weight, node["inventoryItem"]["measurement"]["weight"]["value"])


def check_page(nodes: list[Any], mutated_index: int) -> None:
    decoded, sent_nodes = read_page(nodes)
    assert len(decoded) == len(nodes)
    for index, (one, node) in enumerate(zip(decoded, sent_nodes, strict=True)):
        record = to_record(one)
        check_record(record, node)
        if index != mutated_index:
            assert record.product is not None
            assert record.issues == ()


def check_single(nodes: list[Any], mutated_index: int) -> None:
    answer = reply({"product": nodes[mutated_index]})
    data = decode_response(answer).data
    assert data is not None
    decoded = decode_product(data, ())
    node = sent(answer.body)["data"]["product"]
    assert (decoded is None) == (node is None)
    if decoded is not None:
        check_record(to_record(decoded), node)


@pytest.mark.parametrize("round_number", range(campaign.ROUNDS))
def test_a_mutated_node_is_delivered_truthfully_or_rejected_and_its_page_is_unaffected(
    round_number: int, shopify_nodes: list[Any]
) -> None:
    campaign.run(round_number, shopify_nodes, check_page)


@pytest.mark.parametrize("round_number", range(campaign.ROUNDS))
def test_a_mutated_product_that_is_read_alone_is_delivered_truthfully_or_rejected(
    round_number: int, shopify_nodes: list[Any]
) -> None:
    campaign.run(round_number, shopify_nodes, check_single)
