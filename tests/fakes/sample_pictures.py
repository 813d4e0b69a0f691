"""Pictures as shops have them, and what spoils them."""

from __future__ import annotations

import io
import struct
import zlib
from random import Random

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

BROWN = (150, 70, 60)
BLUE = (40, 70, 160)


def product_picture(
    side: int = 1_200, *, color: tuple[int, int, int] = BROWN, is_busy: bool = False, lines: int = 12
) -> Image.Image:
    """Return a striped box on white, or on a background full of coloured boxes."""
    random = Random(3)
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(400 if is_busy else 0):
        left, top = random.randrange(side), random.randrange(side)
        box = (left, top, left + random.randrange(10, 120), top + random.randrange(10, 120))
        draw.rectangle(box, fill=(random.randrange(256), random.randrange(256), random.randrange(256)))
    draw.rectangle((side * 0.2, side * 0.3, side * 0.7, side * 0.9), fill=color)
    for number in range(lines):
        y = side * (0.35 + 0.5 * number / lines)
        draw.line((side * 0.25, y, side * 0.65, y), fill=(220, 200, 180), width=side // 100)
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    """Return the image as a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def blurred(image: Image.Image, radius: float) -> Image.Image:
    """Return the image out of focus."""
    return image.filter(ImageFilter.GaussianBlur(radius))


def darkened(image: Image.Image, factor: float) -> Image.Image:
    """Return the image with a part of its light."""
    return ImageEnhance.Brightness(image).enhance(factor)


def overexposed(image: Image.Image, share: float) -> Image.Image:
    """Return the image mixed with white."""
    return Image.blend(image, Image.new("RGB", image.size, "white"), share)


def decompression_bomb(side: int = 100_000) -> bytes:
    """Return a PNG of a few hundred bytes that says to have `side` x `side` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100_000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
