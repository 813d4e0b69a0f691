"""Pictures of products: valid PNGs whose shape depends on the product type and whose colours on the id."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from devstore.catalog.pictures import SIDE_PIXELS, Ellipse, Polygon, product_picture
from devstore.catalog.sample_data import PRODUCT_NOUNS

TYPES = sorted({product_type for _, product_type in PRODUCT_NOUNS})
Spans = list[tuple[float, float]]


@pytest.mark.parametrize("product_type", [*TYPES, "unknown"])
def test_a_picture_is_a_png_of_a_few_kilobytes(product_type: str) -> None:
    content = product_picture(7, product_type)
    with Image.open(io.BytesIO(content)) as image:
        image.verify()
        assert (image.format, image.size) == ("PNG", (SIDE_PIXELS, SIDE_PIXELS))
    assert len(content) < 8_000


def test_pictures_of_different_types_and_ids_differ_and_equal_ones_are_equal() -> None:
    by_type = {product_picture(7, product_type) for product_type in (*TYPES, "unknown")}
    assert len(by_type) == len(TYPES) + 1
    assert len({product_picture(image_id, "Bags") for image_id in range(20)}) > 10
    assert product_picture(7, "Bags") == product_picture(7, "Bags")
    assert product_picture(7, "Bags", replacement=1_700_000_000) != product_picture(7, "Bags")


def test_a_polygon_covers_its_inside_at_each_height() -> None:
    square = Polygon(colour=(0, 0, 0), points=((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8)))
    assert list(square.spans(0.5)) == [(0.2, 0.8)]
    assert list(square.spans(0.9)) == []


def test_a_ring_is_open_in_its_middle() -> None:
    ring = Ellipse(colour=(0, 0, 0), centre=(0.5, 0.5), radii=(0.4, 0.4), ring=0.1)
    (left, inner_left), (inner_right, right) = ring.spans(0.5)
    assert (left, right) == pytest.approx((0.1, 0.9))
    assert (inner_left, inner_right) == pytest.approx((0.2, 0.8))
    assert len(list(ring.spans(0.11))) == 1
