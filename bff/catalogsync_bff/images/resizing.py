"""Resizes images of unknown origin, within limits of memory and time."""

from __future__ import annotations

import io
import warnings
from enum import Enum
from typing import Final

from PIL import Image, ImageOps

MAX_PIXELS: Final = 40_000_000
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF")
"""No other decoder is used, whatever the content looks like; SVG is not an image but a program."""
_QUALITY: Final = 80
_BACKGROUND: Final = (255, 255, 255)


class OutputFormat(Enum):
    """The format of a resized image."""

    WEBP = "image/webp"
    JPEG = "image/jpeg"


class ImageUnusable(Exception):
    """The content is not an image that can be shown. The message is for people."""


def resize(content: bytes, *, size: int, output: OutputFormat) -> bytes:
    """Return the image scaled down to fit into a square of `size` pixels; a smaller one is not enlarged.

    Takes up to seconds for the largest images: call it in a thread. Metadata is not copied.

    Raises:
        ImageUnusable: the content is no image of a known format, is damaged, or has too many pixels.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of images that are larger than its own limit; ours is checked below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                return _encode(_scaled(image, size), output)
    except ImageUnusable:
        raise
    except Image.DecompressionBombError:
        raise _too_many_pixels() from None
    except Exception as error:
        # Decoders raise many kinds of errors: OSError, SyntaxError, struct.error, ZeroDivisionError.
        raise ImageUnusable(f"the content cannot be decoded ({type(error).__name__})") from None


def _scaled(image: Image.Image, size: int) -> Image.Image:
    if image.width * image.height > MAX_PIXELS:
        raise _too_many_pixels()
    # A JPEG decoder scales by itself, for a fraction of the time and of the memory.
    image.draft("RGB", (size * 2, size * 2))
    upright = ImageOps.exif_transpose(image)
    if upright.mode not in ("RGB", "RGBA"):
        upright = upright.convert("RGBA" if "transparency" in upright.info or upright.mode == "LA" else "RGB")
    upright.thumbnail((size, size))
    return upright


def _encode(image: Image.Image, output: OutputFormat) -> bytes:
    out = io.BytesIO()
    if output is OutputFormat.WEBP:
        image.save(out, "WEBP", quality=_QUALITY, method=2)
        return out.getvalue()
    if image.mode == "RGBA":
        flat = Image.new("RGB", image.size, _BACKGROUND)
        flat.paste(image, mask=image.getchannel("A"))
        image = flat
    image.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _too_many_pixels() -> ImageUnusable:
    return ImageUnusable(f"the image has more than {MAX_PIXELS} pixels")
