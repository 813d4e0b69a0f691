"""Measures the technical quality of an image with Pillow. README.md explains the components and their weights."""

from __future__ import annotations

import io
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Protocol

from catalogsync_client import TaskFailed
from PIL import Image, ImageChops, ImageFilter, ImageOps, ImageStat

MAX_PIXELS: Final = 40_000_000
"""Decoded, such an image takes up to 160 MB."""
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF")
"""No other decoder is used, whatever the content looks like."""
_MEASURED_SIZE: Final = 512
"""The longer side, in pixels, at which images are measured, so that sharpness does not depend on the size."""
_LAPLACIAN: Final = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128)
_SUBJECT_DIFFERENCE: Final = 24
"""A pixel that differs from the background by less, in each colour, is part of the background."""
_COLORS: Final = 5
_THOUSANDTH: Final = Decimal("0.001")
_MIN_BITS: Final = 4
"""An image with fewer set or unset bits in its fingerprint has no structure."""
_MAX_BITS_APART: Final = 4
"""Of 64, between duplicates."""
_MAX_COLOR_APART: Final = 12
"""Between duplicates, in each part of the colour."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    """One part of the quality score."""

    name: str
    weight: Decimal
    measured: str
    """What was measured, with its unit."""
    score: Decimal
    """From 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fingerprint:
    """Differs little between images that look alike."""

    bits: int
    """64 bits about edges (dHash); they say nothing about colours."""
    color: tuple[int, int, int]
    """The mean colour of what is not background, each part from 0 to 255."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assessment:
    """What a model found in an image."""

    quality_score: Decimal
    confidence_score: Decimal
    components: Sequence[Component]
    """Why the quality score is what it is."""
    width: int
    height: int
    colors: Sequence[tuple[str, Decimal]]
    """The dominant colours, as "#rrggbb", with their shares of the image; largest first."""
    fingerprint: Fingerprint


class ImageModel(Protocol):
    """Assesses an image. This is where a model plugs in: write another class, with a `version` for `worker.py`."""

    def assess(self, content: bytes) -> Assessment:
        """Return what is found in the image. Called in a process of its own, for one image after the other.

        Raises:
            TaskFailed: the content is not an image that can be assessed.
        """
        ...


class QualityModel:
    """Measures an image; deterministic, without a trained model."""

    version: Final = "1"
    """RequeueTasks analyzes again what other versions have analyzed."""

    def assess(self, content: bytes) -> Assessment:
        """Return the measured quality; the confidence is 1, since nothing is guessed.

        Raises:
            TaskFailed: IMAGE_TOO_LARGE or IMAGE_UNREADABLE.
        """
        (width, height), image = _decode(content)
        luminance = image.convert("L")
        background = _background(image)
        subject = _subject(image, background)
        components = (
            _resolution(width, height),
            _sharpness(luminance),
            _exposure(luminance, subject),
            _contrast(luminance),
            _background_uniformity(background),
        )
        total = sum((each.score * each.weight for each in components), Decimal())
        return Assessment(
            quality_score=total.quantize(_THOUSANDTH),
            confidence_score=Decimal(1),
            components=components,
            width=width,
            height=height,
            colors=_dominant_colors(image),
            fingerprint=_fingerprint(image, luminance, subject),
        )


def _decode(content: bytes) -> tuple[tuple[int, int], Image.Image]:
    """Return the original size, and the first frame as RGB on white, at most _MEASURED_SIZE wide and high."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of images that are larger than its own limit; ours is checked below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                return _scaled(image)
    except TaskFailed:
        raise
    except Image.DecompressionBombError:
        raise _too_many_pixels() from None
    except Exception as error:
        # Decoders raise many kinds of errors: OSError, SyntaxError, struct.error, ZeroDivisionError.
        message = f"the content cannot be decoded ({type(error).__name__})"
        raise TaskFailed("IMAGE_UNREADABLE", message, permanent=True) from None


def _scaled(image: Image.Image) -> tuple[tuple[int, int], Image.Image]:
    if image.width * image.height > MAX_PIXELS:
        raise _too_many_pixels()
    original = image.size
    # A JPEG decoder scales by itself, for a fraction of the time and of the memory.
    image.draft("RGB", (_MEASURED_SIZE * 2, _MEASURED_SIZE * 2))
    has_alpha = "transparency" in image.info or image.mode in ("LA", "PA", "RGBA")
    small = image.convert("RGBA" if has_alpha else "RGB")
    small.thumbnail((_MEASURED_SIZE, _MEASURED_SIZE))
    if has_alpha:
        white = Image.new("RGB", small.size, "white")
        white.paste(small, mask=small.getchannel("A"))
        small = white
    upright = ImageOps.exif_transpose(small)
    is_turned = (small.width > small.height) != (upright.width > upright.height)
    return (original[1], original[0]) if is_turned else original, upright


def _too_many_pixels() -> TaskFailed:
    return TaskFailed("IMAGE_TOO_LARGE", f"the image has more than {MAX_PIXELS} pixels", permanent=True)


# Components


def _resolution(width: int, height: int) -> Component:
    """Full score from 1,000 pixels on the shorter side, which marketplaces ask for; none at 100."""
    shorter = Decimal(min(width, height))
    return Component(
        name="resolution",
        weight=Decimal("0.25"),
        measured=f"{shorter} px",
        score=_linear(shorter, none_at=100, full_at=1_000),
    )


def _sharpness(luminance: Image.Image) -> Component:
    """The strength of the sharpest edges: the 99th percentile of the absolute Laplacian.

    The variance of the Laplacian would be low for every product on a plain background, which has few edges.
    """
    edges = luminance.filter(_LAPLACIAN).crop((1, 1, luminance.width - 1, luminance.height - 1))
    histogram = edges.histogram()
    strength = [histogram[128], *(histogram[128 - by] + histogram[min(128 + by, 255)] for by in range(1, 129))]
    value = Decimal(_percentile(strength, 99))
    return Component(
        name="sharpness",
        weight=Decimal("0.30"),
        measured=f"{value} of 128",
        score=_linear(value, none_at=4, full_at=48),
    )


def _exposure(luminance: Image.Image, subject: Image.Image) -> Component:
    """The mean luminance of what is not background; full score from 50 to 215 of 255."""
    mean = _decimal(ImageStat.Stat(luminance, mask=subject).mean[0])
    score = min(_linear(mean, none_at=10, full_at=50), _linear(mean, none_at=250, full_at=215))
    return Component(name="exposure", weight=Decimal("0.15"), measured=f"{mean} of 255", score=score)


def _contrast(luminance: Image.Image) -> Component:
    """The standard deviation of the luminance; full score from 50 of 255."""
    deviation = _decimal(ImageStat.Stat(luminance).stddev[0])
    return Component(
        name="contrast",
        weight=Decimal("0.10"),
        measured=f"{deviation} of 255",
        score=_linear(deviation, none_at=5, full_at=50),
    )


def _background_uniformity(background: ImageStat.Stat) -> Component:
    """The standard deviation of the colours along the border; full score up to 4 of 255."""
    deviation = _decimal(sum(background.stddev) / len(background.stddev))
    return Component(
        name="background",
        weight=Decimal("0.20"),
        measured=f"{deviation} of 255",
        score=_linear(deviation, none_at=60, full_at=4),
    )


# Measurements


def _background(image: Image.Image) -> ImageStat.Stat:
    """Return statistics of the border: a twentieth of the image on each side."""
    band = max(1, min(image.size) // 20)
    border = Image.new("L", image.size, 255)
    border.paste(0, (band, band, max(band, image.width - band), max(band, image.height - band)))
    return ImageStat.Stat(image, mask=border)


def _subject(image: Image.Image, background: ImageStat.Stat) -> Image.Image:
    """Return a mask of what differs from the colour of the border; of everything if nothing does."""
    color = tuple(round(value) for value in background.median)
    difference = ImageChops.difference(image, Image.new("RGB", image.size, color))
    red, green, blue = difference.split()
    strongest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    mask = strongest.point([255 if value >= _SUBJECT_DIFFERENCE else 0 for value in range(256)])
    return mask if mask.getbbox() else Image.new("L", image.size, 255)


def _dominant_colors(image: Image.Image) -> list[tuple[str, Decimal]]:
    small = image.resize((64, 64), Image.Resampling.BOX).quantize(_COLORS, Image.Quantize.MEDIANCUT)
    palette = small.getpalette() or []
    counted = sorted(small.getcolors() or [], reverse=True)
    return [
        ("#" + bytes(palette[3 * index : 3 * index + 3]).hex(), (Decimal(count) / 4096).quantize(_THOUSANDTH))
        for count, index in counted
        if isinstance(index, int)
    ]


def _fingerprint(image: Image.Image, luminance: Image.Image, subject: Image.Image) -> Fingerprint:
    """Return the dHash (for each of 8 x 8 cells, whether the next one in its row is darker) and the colour."""
    pixels = luminance.resize((9, 8), Image.Resampling.LANCZOS).tobytes()
    bits = 0
    for row in range(8):
        for column in range(8):
            left, right = pixels[9 * row + column], pixels[9 * row + column + 1]
            bits = bits << 1 | (left > right)
    red, green, blue = map(round, ImageStat.Stat(image, mask=subject).mean)
    return Fingerprint(bits=bits, color=(red, green, blue))


def _percentile(histogram: Sequence[int], percent: int) -> int:
    """Return the lowest value that is not exceeded by `percent` of what the histogram counts."""
    remaining = sum(histogram) * percent / 100
    for value, count in enumerate(histogram):
        remaining -= count
        if remaining <= 0:
            return value
    return len(histogram) - 1


def _decimal(value: float) -> Decimal:
    return Decimal(f"{value:.1f}")


def _linear(value: Decimal, *, none_at: int, full_at: int) -> Decimal:
    """Return 0 at `none_at` and beyond, 1 at `full_at` and beyond, and between them in proportion."""
    share = (value - none_at) / (full_at - none_at)
    return min(max(share, Decimal()), Decimal(1)).quantize(_THOUSANDTH)


class SimilarImages:
    """Finds near duplicates by shop, in bounded memory: of the images that were added since the process began."""

    def __init__(self, *, max_shops: int = 200, max_images: int = 2_000) -> None:
        """Create an empty index.

        Args:
            max_shops: how many shops to keep; the one whose last image is the oldest is dropped.
            max_images: how many images of a shop to keep; the oldest is dropped.
        """
        self._max_shops = max_shops
        self._max_images = max_images
        self._shops: OrderedDict[str, OrderedDict[str, Fingerprint]] = OrderedDict()

    def add(self, shop_id: str, image_id: str, fingerprint: Fingerprint) -> str:
        """Add an image, and return the id of the first one in the shop that it resembles; "" if there is none.

        Images without structure, such as a single colour, have no duplicates: their bits say nothing.
        """
        images = self._shops.setdefault(shop_id, OrderedDict())
        self._shops.move_to_end(shop_id)
        if len(self._shops) > self._max_shops:
            self._shops.popitem(last=False)
        images.pop(image_id, None)
        if not _MIN_BITS <= fingerprint.bits.bit_count() <= 64 - _MIN_BITS:
            return ""
        found = next((id_ for id_, other in images.items() if _is_similar(other, fingerprint)), "")
        images[image_id] = fingerprint
        if len(images) > self._max_images:
            images.popitem(last=False)
        return found


def _is_similar(one: Fingerprint, other: Fingerprint) -> bool:
    if (one.bits ^ other.bits).bit_count() > _MAX_BITS_APART:
        return False
    return all(abs(a - b) <= _MAX_COLOR_APART for a, b in zip(one.color, other.color, strict=True))
