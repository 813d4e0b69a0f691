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


def paths_in(value: Any, above: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [above] * bool(above) + [path for key, one in below for path in paths_in(one, (*above, key))]


def sound_product() -> Any:
    media = {"nodes": [image_node(5)], "pageInfo": {"hasNextPage": False}}
    return product_node(1, 2, media=media)


@st.composite
def mutated_products(draw: st.DrawFn) -> Any:
    product = sound_product()
    for path in draw(st.lists(st.sampled_from(paths_in(product)), min_size=1, max_size=3)):
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
def test_whatever_is_wrong_with_a_product_it_ends_as_a_product_or_as_an_issue(product: Any) -> None:
    sound = sound_product() | {"id": "gid://shopify/Product/2"}
    page = {"products": {"nodes": [product, sound], "pageInfo": {"hasNextPage": False}}}
    found, _ = decode_page(msgspec.Raw(msgspec.json.encode(page)), ())
    first, second = (to_record(one) for one in found)
    assert second.product is not None
    assert second.issues == ()
    rejected = [issue for issue in first.issues if issue.product_rejected]
    assert len(rejected) == (first.product is None)
    if first.product is not None and len(first.product.variants) < first.received:
        assert first.issues
        assert not first.product.variants_complete
