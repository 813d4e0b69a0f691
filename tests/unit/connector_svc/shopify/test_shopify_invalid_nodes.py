"""Property test: whatever is invalid in a product node, the product is delivered or reported."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from connector_svc.platforms.shopify.node_decoding import decode_page
from connector_svc.platforms.shopify.parse import to_record
from tests.unit.connector_svc.shopify.nodes_json import image_node, product_node

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(["NaN", "sNaN", "-0", "1E-99999", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"]),
    st.lists(st.none(), max_size=2),
    st.dictionaries(st.text("ab"), st.none(), max_size=2),
)


def paths(value: Any, prefix: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [prefix] * bool(prefix) + [path for key, one in children for path in paths(one, (*prefix, key))]


def valid_product() -> Any:
    media = {"nodes": [image_node(5)], "pageInfo": {"hasNextPage": False}}
    return product_node(1, 2, media=media)


@st.composite
def mutated_products(draw: st.DrawFn) -> Any:
    product = valid_product()
    for path in draw(st.lists(st.sampled_from(paths(product)), min_size=1, max_size=3)):
        target = product
        try:
            for step in path[:-1]:
                target = target[step]
            if draw(st.booleans()):
                target[path[-1]] = draw(JUNK)
            else:
                del target[path[-1]]
        except (LookupError, TypeError):
            continue
    return product


@settings(max_examples=400, deadline=None)
@given(mutated_products())
def test_a_mutated_product_is_delivered_or_reported(product: Any) -> None:
    valid = valid_product() | {"id": "gid://shopify/Product/2"}
    page = {"products": {"nodes": [product, valid], "pageInfo": {"hasNextPage": False}}}
    nodes, _ = decode_page(msgspec.Raw(msgspec.json.encode(page)), ())
    first, second = (to_record(node) for node in nodes)
    assert second.product is not None
    assert second.issues == ()
    rejected = [issue for issue in first.issues if issue.product_rejected]
    assert len(rejected) == (first.product is None)
    if first.product is not None and len(first.product.variants) < first.received_variants:
        assert first.issues
        assert not first.product.variants_complete
