"""Whatever is wrong with a node of Shopify, it ends as a product that says what was sent, or as an issue."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest

from connector_svc.domain.product import Image, Product, Variant
from connector_svc.domain.records import SAMPLE_LENGTH
from connector_svc.platforms.base import HttpReply
from connector_svc.platforms.shopify.answer import read_answer
from connector_svc.platforms.shopify.nodes import Found, page_nodes, single_node
from connector_svc.platforms.shopify.parse_variant import DEFAULT_TITLE
from connector_svc.platforms.shopify.record import Record, record_of
from tests.unit.connector_svc.mutation import campaign
from tests.unit.connector_svc.mutation.independent_reader import check_amount, children, is_text, sent
from tests.unit.connector_svc.mutation.mutator import encoded


def number(gid: Any) -> str:
    return str(gid).rpartition("/")[2]


def reply(data: Any) -> HttpReply:
    return HttpReply(status=200, headers={}, body=encoded({"data": data}))


def read_page(nodes: list[Any]) -> tuple[list[Found], list[Any]]:
    """What the real path makes of the page, and what a simple reading says was sent."""
    answer = reply({"products": {"nodes": nodes, "pageInfo": {"hasNextPage": False}}})
    data = read_answer(answer).data
    assert data is not None
    return page_nodes(data, ())[0], sent(answer.body)["data"]["products"]["nodes"]


def check_record(record: Record, node: Any) -> None:
    aside = [issue for issue in record.issues if issue.product_rejected]
    assert len(aside) == (record.product is None)
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
    """That it says what one of the nodes with its id says."""
    for node in nodes[:-1]:
        with suppress(AssertionError):
            return check_variant(variant, node)
    return check_variant(variant, nodes[-1])


def check_product(product: Product, node: Any) -> None:
    assert node["id"] == f"gid://shopify/Product/{product.id}"
    told = (product.title, product.handle, product.description_html, product.vendor, product.product_type)
    assert told == tuple(node[name] for name in ("title", "handle", "descriptionHtml", "vendor", "productType"))
    assert product.url == (node["onlineStoreUrl"] or "")
    assert list(product.tags) == node["tags"]
    assert product.status.value == node["status"]
    assert node["status"] in ("ACTIVE", "UNLISTED") or not any(one.available for one in product.variants)
    assert product.updated_at == datetime.fromisoformat(node["updatedAt"])
    assert product.created_at == datetime.fromisoformat(node["createdAt"])
    options = [{"name": option.name, "values": list(option.values)} for option in product.options]
    said = [{"name": one["name"], "values": one["values"]} for one in node["options"]]
    assert options == said or (not options and said == [{"name": "Title", "values": [DEFAULT_TITLE]}])
    media = {one["id"]: one for one in node["media"]["nodes"]}
    for image in product.images:
        check_image(image, media.values())


def check_image(image: Image, media: Any) -> None:
    said = [one for one in media if one.get("image") and one["image"]["url"] == image.url]
    assert image.url.startswith(("https://", "http://"))
    assert any((one.get("alt") or "") == image.alt_text for one in said)


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


def check_page(nodes: list[Any], place: int) -> None:
    found, said = read_page(nodes)
    assert len(found) == len(nodes)
    for index, (one, node) in enumerate(zip(found, said, strict=True)):
        record = record_of(one)
        check_record(record, node)
        if index != place:
            assert record.product is not None
            assert record.issues == ()


def check_single(nodes: list[Any], place: int) -> None:
    answer = reply({"product": nodes[place]})
    data = read_answer(answer).data
    assert data is not None
    found = single_node(data, ())
    node = sent(answer.body)["data"]["product"]
    assert (found is None) == (node is None)
    if found is not None:
        check_record(record_of(found), node)


@pytest.mark.parametrize("round_number", range(campaign.ROUNDS))
def test_a_mutated_node_stays_true_or_is_rejected_and_its_page_is_untouched(
    round_number: int, shopify_nodes: list[Any]
) -> None:
    campaign.run(round_number, shopify_nodes, check_page)


@pytest.mark.parametrize("round_number", range(campaign.ROUNDS))
def test_a_mutated_product_that_is_read_alone_stays_true_or_is_rejected(
    round_number: int, shopify_nodes: list[Any]
) -> None:
    campaign.run(round_number, shopify_nodes, check_single)
