"""Pictures of products as PNG: a silhouette for each product type, in colours that depend on the image's id."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from devstore.catalog.sample_data import splitmix64

SIDE_PIXELS: Final = 320

Colour = tuple[int, int, int]
Point = tuple[float, float]
"""x and y from 0 to 1; y grows downwards."""

_BACKGROUNDS: Final[Sequence[Colour]] = (
    (243, 237, 227), (227, 232, 239), (234, 240, 232), (242, 231, 223), (238, 230, 218), (236, 229, 240),
    (226, 236, 236), (246, 240, 218),
)  # fmt: skip
_COLOURS: Final[Sequence[Colour]] = (
    (44, 62, 96), (180, 83, 60), (92, 112, 74), (217, 195, 160), (109, 65, 37), (61, 106, 138), (140, 60, 84),
    (72, 72, 78), (201, 148, 52), (84, 130, 124), (150, 110, 160), (222, 214, 200),
)  # fmt: skip


class Shape(Protocol):
    """A filled shape."""

    @property
    def colour(self) -> Colour: ...

    def spans(self, y: float) -> Iterable[tuple[float, float]]:
        """Return the intervals of x that it covers at a height."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Polygon:
    """A polygon; where it overlaps itself an even number of times it is not filled."""

    colour: Colour
    points: Sequence[Point]

    def spans(self, y: float) -> Iterable[tuple[float, float]]:
        edges = zip(self.points, (*self.points[1:], self.points[0]), strict=True)
        crossings = sorted(
            x1 + (y - y1) * (x2 - x1) / (y2 - y1) for (x1, y1), (x2, y2) in edges if (y1 <= y) != (y2 <= y)
        )
        return zip(crossings[::2], crossings[1::2], strict=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ellipse:
    """An ellipse, or a ring of the given width."""

    colour: Colour
    centre: Point
    radii: Point
    ring: float = 0.0

    def spans(self, y: float) -> Iterable[tuple[float, float]]:
        outer = self._half_width(y, 0.0)
        if outer is None:
            return ()
        x = self.centre[0]
        inner = self._half_width(y, self.ring) if self.ring else None
        if inner is None:
            return ((x - outer, x + outer),)
        return ((x - outer, x - inner), (x + inner, x + outer))

    def _half_width(self, y: float, inset: float) -> float | None:
        width, height = self.radii[0] - inset, self.radii[1] - inset
        distance = (y - self.centre[1]) / height
        return width * math.sqrt(1 - distance * distance) if abs(distance) < 1 else None


def product_picture(image_id: int, product_type: str, *, replacement: int = 0) -> bytes:
    """Return a PNG of 320 x 320 pixels, of a few kilobytes; equal for equal arguments.

    Args:
        image_id: decides the colours.
        product_type: decides the shape.
        replacement: other colours for each number; 0: the first picture.
    """
    bits = splitmix64(replacement, image_id)
    background = _BACKGROUNDS[bits % len(_BACKGROUNDS)]
    colour = _COLOURS[(bits >> 8) % len(_COLOURS)]
    shadow = Ellipse(colour=_shade(background, 0.86), centre=(0.5, 0.85), radii=(0.32, 0.035))
    return encode_png(background, (shadow, *_silhouette(product_type, colour)))


def encode_png(background: Colour, shapes: Sequence[Shape]) -> bytes:
    """Return the shapes on a background as PNG; a later shape covers the earlier ones."""
    rows = bytearray()
    for row in range(SIDE_PIXELS):
        pixels = bytearray(bytes(background) * SIDE_PIXELS)
        for shape in shapes:
            for left, right in shape.spans((row + 0.5) / SIDE_PIXELS):
                begin, end = (min(max(round(x * SIDE_PIXELS), 0), SIDE_PIXELS) for x in (left, right))
                pixels[3 * begin : 3 * end] = bytes(shape.colour) * (end - begin)
        rows += b"\x00" + pixels
    header = struct.pack(">IIBBBBB", SIDE_PIXELS, SIDE_PIXELS, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _shade(colour: Colour, factor: float) -> Colour:
    """Return a darker colour (factor below 1), or a lighter one."""
    red, green, blue = (min(255, round(part * factor)) for part in colour)
    return red, green, blue


def _silhouette(product_type: str, colour: Colour) -> Sequence[Shape]:
    return {
        "Apparel": _shirt,
        "Accessories": _belt,
        "Bags": _bag,
        "Footwear": _boot,
        "Kitchen": _mug,
        "Home": _lamp,
        "Sport": _mat,
        "Stationery": _notebook,
        "Travel": _pillow,
    }.get(product_type, _box)(colour)


def _shirt(colour: Colour) -> Sequence[Shape]:
    body = ((0.38, 0.2), (0.62, 0.2), (0.72, 0.24), (0.88, 0.42), (0.77, 0.52), (0.69, 0.44), (0.69, 0.83),
            (0.31, 0.83), (0.31, 0.44), (0.23, 0.52), (0.12, 0.42), (0.28, 0.24))  # fmt: skip
    return (
        Polygon(colour=colour, points=body),
        Ellipse(colour=_shade(colour, 0.72), centre=(0.5, 0.2), radii=(0.12, 0.07)),
        Polygon(colour=_shade(colour, 0.88), points=((0.31, 0.79), (0.69, 0.79), (0.69, 0.83), (0.31, 0.83))),
    )


def _belt(colour: Colour) -> Sequence[Shape]:
    metal = (201, 176, 106)
    return (
        Ellipse(colour=colour, centre=(0.5, 0.54), radii=(0.33, 0.29), ring=0.085),
        Polygon(colour=metal, points=((0.4, 0.21), (0.6, 0.21), (0.6, 0.38), (0.4, 0.38))),
        Polygon(colour=_shade(colour, 0.8), points=((0.43, 0.245), (0.57, 0.245), (0.57, 0.345), (0.43, 0.345))),
        Polygon(colour=metal, points=((0.49, 0.24), (0.51, 0.24), (0.51, 0.35), (0.49, 0.35))),
    )


def _bag(colour: Colour) -> Sequence[Shape]:
    return (
        Ellipse(colour=_shade(colour, 0.7), centre=(0.5, 0.4), radii=(0.16, 0.23), ring=0.03),
        Polygon(colour=colour, points=((0.25, 0.4), (0.75, 0.4), (0.8, 0.84), (0.2, 0.84))),
        Polygon(colour=_shade(colour, 0.84), points=((0.36, 0.56), (0.64, 0.56), (0.65, 0.76), (0.35, 0.76))),
    )


def _boot(colour: Colour) -> Sequence[Shape]:
    shaft = ((0.3, 0.2), (0.55, 0.2), (0.56, 0.5), (0.8, 0.62), (0.86, 0.74), (0.86, 0.8), (0.28, 0.8))
    sole = ((0.27, 0.79), (0.87, 0.79), (0.87, 0.85), (0.5, 0.85), (0.48, 0.83), (0.44, 0.85), (0.27, 0.85))
    return (
        Polygon(colour=colour, points=shaft),
        Polygon(colour=_shade(colour, 0.72), points=((0.44, 0.2), (0.55, 0.2), (0.555, 0.44), (0.47, 0.4))),
        Polygon(colour=_shade(colour, 0.5), points=sole),
    )


def _mug(colour: Colour) -> Sequence[Shape]:
    return (
        Ellipse(colour=_shade(colour, 0.85), centre=(0.68, 0.55), radii=(0.17, 0.16), ring=0.05),
        Polygon(colour=colour, points=((0.24, 0.32), (0.68, 0.32), (0.66, 0.8), (0.26, 0.8))),
        Ellipse(colour=colour, centre=(0.46, 0.8), radii=(0.2, 0.05)),
        Ellipse(colour=_shade(colour, 0.82), centre=(0.46, 0.32), radii=(0.22, 0.055)),
        Ellipse(colour=(79, 54, 38), centre=(0.46, 0.325), radii=(0.185, 0.04)),
    )


def _lamp(colour: Colour) -> Sequence[Shape]:
    metal = (92, 88, 84)
    return (
        Polygon(colour=metal, points=((0.485, 0.4), (0.515, 0.4), (0.515, 0.82), (0.485, 0.82))),
        Ellipse(colour=metal, centre=(0.5, 0.83), radii=(0.17, 0.04)),
        Ellipse(colour=(252, 244, 214), centre=(0.5, 0.5), radii=(0.23, 0.05)),
        Polygon(colour=colour, points=((0.4, 0.18), (0.6, 0.18), (0.74, 0.5), (0.26, 0.5))),
        Polygon(colour=_shade(colour, 0.85), points=((0.54, 0.18), (0.6, 0.18), (0.74, 0.5), (0.6, 0.5))),
    )


def _mat(colour: Colour) -> Sequence[Shape]:
    dark = _shade(colour, 0.7)
    return (
        Polygon(colour=colour, points=((0.22, 0.44), (0.72, 0.44), (0.72, 0.8), (0.22, 0.8))),
        Ellipse(colour=colour, centre=(0.22, 0.62), radii=(0.09, 0.18)),
        Ellipse(colour=_shade(colour, 1.1), centre=(0.72, 0.62), radii=(0.09, 0.18)),
        Ellipse(colour=dark, centre=(0.72, 0.62), radii=(0.066, 0.135), ring=0.014),
        Ellipse(colour=dark, centre=(0.72, 0.62), radii=(0.036, 0.075), ring=0.012),
        Polygon(colour=dark, points=((0.34, 0.44), (0.39, 0.44), (0.39, 0.8), (0.34, 0.8))),
    )


def _notebook(colour: Colour) -> Sequence[Shape]:
    return (
        Polygon(colour=(236, 232, 222), points=((0.3, 0.21), (0.74, 0.21), (0.74, 0.83), (0.3, 0.83))),
        Polygon(colour=colour, points=((0.27, 0.18), (0.7, 0.18), (0.7, 0.82), (0.27, 0.82))),
        Polygon(colour=_shade(colour, 0.75), points=((0.27, 0.18), (0.33, 0.18), (0.33, 0.82), (0.27, 0.82))),
        Polygon(colour=(243, 238, 226), points=((0.4, 0.3), (0.63, 0.3), (0.63, 0.42), (0.4, 0.42))),
        Polygon(colour=_shade(colour, 0.6), points=((0.64, 0.18), (0.655, 0.18), (0.655, 0.82), (0.64, 0.82))),
    )


def _pillow(colour: Colour) -> Sequence[Shape]:
    opening = _shade(colour, 0.62)
    return (
        Ellipse(colour=colour, centre=(0.5, 0.55), radii=(0.34, 0.3)),
        Ellipse(colour=opening, centre=(0.5, 0.6), radii=(0.15, 0.15)),
        Polygon(colour=opening, points=((0.42, 0.66), (0.58, 0.66), (0.6, 0.86), (0.4, 0.86))),
    )


def _box(colour: Colour) -> Sequence[Shape]:
    lid = ((0.2, 0.42), (0.5, 0.3), (0.8, 0.42), (0.5, 0.54))
    return (
        Polygon(colour=colour, points=((0.2, 0.42), (0.5, 0.54), (0.5, 0.86), (0.2, 0.74))),
        Polygon(colour=_shade(colour, 0.8), points=((0.8, 0.42), (0.5, 0.54), (0.5, 0.86), (0.8, 0.74))),
        Polygon(colour=_shade(colour, 1.12), points=lid),
    )
