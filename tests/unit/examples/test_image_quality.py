"""examples/analysis-worker: a spoiled picture scores lower than the same one as it was, and the score says why."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
from catalogsync_client import TaskFailed
from image_quality import Assessment, QualityModel, SimilarImages
from PIL import Image, ImageOps

from tests.fakes.sample_pictures import (
    BLUE,
    blurred,
    darkened,
    decompression_bomb,
    encoded,
    overexposed,
    product_picture,
)

README = Path(__file__).parents[3] / "examples/analysis-worker/README.md"


def assess(image: Image.Image | bytes) -> Assessment:
    return QualityModel().assess(image if isinstance(image, bytes) else encoded(image))


def part(assessment: Assessment, name: str) -> Decimal:
    (found,) = (each.score for each in assessment.components if each.name == name)
    return found


@pytest.fixture(scope="module")
def good() -> Assessment:
    return assess(product_picture())


def test_a_blurred_picture_scores_lower_the_more_it_is_blurred(good: Assessment) -> None:
    scores = [good, *(assess(blurred(product_picture(), radius)) for radius in (3, 8))]
    assert [part(each, "sharpness") for each in scores] == sorted({part(each, "sharpness") for each in scores})[
        ::-1
    ]
    assert [each.quality_score for each in scores] == sorted({each.quality_score for each in scores})[::-1]


def test_a_dark_picture_and_an_overexposed_one_score_lower(good: Assessment) -> None:
    for factor_pair in ((0.5, 0.2), (0.3, 0.1)):
        mild, strong = (assess(darkened(product_picture(), factor)) for factor in factor_pair)
        assert good.quality_score > mild.quality_score > strong.quality_score
        assert part(strong, "exposure") < part(good, "exposure")
    bright = assess(overexposed(product_picture(), 0.9))
    assert bright.quality_score < good.quality_score
    assert part(bright, "exposure") < part(good, "exposure")
    assert part(bright, "contrast") < part(good, "contrast")


def test_a_busy_background_scores_lower_than_a_plain_one(good: Assessment) -> None:
    busy = assess(product_picture(is_busy=True))
    assert busy.quality_score < good.quality_score
    assert part(busy, "background") < part(good, "background")
    assert part(busy, "sharpness") >= part(good, "sharpness")


def test_a_small_picture_scores_lower_than_a_large_one_with_the_same_content(good: Assessment) -> None:
    small = assess(product_picture(300))
    assert small.quality_score < good.quality_score
    assert part(small, "resolution") < part(good, "resolution")


def test_a_white_product_on_white_is_not_taken_for_overexposed() -> None:
    white = assess(product_picture(color=(205, 205, 200)))
    assert part(white, "exposure") == 1


def test_the_score_is_the_weighted_sum_of_its_components(good: Assessment) -> None:
    for assessment in (good, assess(blurred(product_picture(is_busy=True), 4))):
        total = sum((each.score * each.weight for each in assessment.components), Decimal())
        assert assessment.quality_score == total.quantize(Decimal("0.001"))
        assert 0 <= assessment.quality_score <= 1
        assert all(isinstance(each.score, Decimal) and 0 <= each.score <= 1 for each in assessment.components)
        assert sum(each.weight for each in assessment.components) == 1


def test_the_readme_names_each_component_with_its_weight(good: Assessment) -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([0-9.]+) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(each.name, str(each.weight)) for each in good.components]


def test_size_and_dominant_colours_are_those_of_the_picture(good: Assessment) -> None:
    assert (good.width, good.height) == (1_200, 1_200)
    color, share = good.colors[0]
    assert (color, share) > ("#f0f0f0", Decimal("0.5"))
    assert sum(share for _, share in good.colors) == pytest.approx(Decimal(1), abs=Decimal("0.01"))


def test_a_turned_photo_has_the_size_that_people_see() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = product_picture(400).crop((0, 0, 400, 200))
    content = encoded(photo, "JPEG", exif=exif)  # type: ignore[arg-type]
    assert (assess(content).width, assess(content).height) == (200, 400)


def test_transparent_pixels_count_as_white() -> None:
    image = product_picture(400).convert("RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    assert assess(image).colors == [("#ffffff", Decimal("1.000"))]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_each_format_of_the_web_is_read(kind: str) -> None:
    assert assess(encoded(product_picture(400), kind)).quality_score > Decimal("0.7")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "IMAGE_UNREADABLE"),
        (b"<html>not found</html>", "IMAGE_UNREADABLE"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "IMAGE_UNREADABLE"),
        (encoded(product_picture(400))[:500], "IMAGE_UNREADABLE"),
        (encoded(product_picture(64), "BMP"), "IMAGE_UNREADABLE"),
        (decompression_bomb(), "IMAGE_TOO_LARGE"),
        (decompression_bomb(7_000), "IMAGE_TOO_LARGE"),
    ],
    ids=["empty", "html", "svg", "cut off", "other format", "bomb", "too many pixels"],
)
def test_content_that_cannot_be_measured_is_a_permanent_failure(content: bytes, reason: str) -> None:
    with pytest.raises(TaskFailed) as caught:
        assess(content)
    assert (caught.value.reason, caught.value.permanent) == (reason, True)


def test_the_same_picture_in_another_size_and_quality_is_a_duplicate_in_its_shop_only() -> None:
    similar = SimilarImages()
    original = assess(product_picture()).fingerprint
    copy = assess(encoded(product_picture(600), "JPEG", quality=60)).fingerprint
    assert similar.add("shop", "original", original) == ""
    assert similar.add("shop", "copy", copy) == "original"
    assert similar.add("shop", "original", original) == "copy"
    assert similar.add("other shop", "copy", copy) == ""


def test_another_colour_and_another_picture_are_no_duplicates() -> None:
    similar = SimilarImages()
    similar.add("shop", "brown", assess(product_picture()).fingerprint)
    assert similar.add("shop", "blue", assess(product_picture(color=BLUE)).fingerprint) == ""
    assert similar.add("shop", "mirrored", assess(ImageOps.mirror(product_picture())).fingerprint) == ""


def test_plain_pictures_are_no_duplicates_of_each_other() -> None:
    similar = SimilarImages()
    plain = assess(Image.new("RGB", (300, 300), "white")).fingerprint
    assert similar.add("shop", "one", plain) == similar.add("shop", "two", plain) == ""


def test_the_index_of_duplicates_is_bounded_by_shops_and_images() -> None:
    similar = SimilarImages(max_shops=2, max_images=3)
    print_of = assess(product_picture()).fingerprint
    for shop in ("a", "b", "c"):
        similar.add(shop, "first", print_of)
    assert similar.add("a", "again", print_of) == ""
    for number in range(4):
        similar.add("c", str(number), print_of)
    assert similar.add("c", "last", print_of) == "1"
