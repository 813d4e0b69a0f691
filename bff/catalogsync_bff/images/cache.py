"""Resized images in memory, bounded in bytes."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from catalogsync_bff.images.resizing import OutputFormat

_ENTRY_OVERHEAD_BYTES: Final = 1_000
"""Of the keys and objects of an entry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageKey:
    """Identifies a resized image."""

    url: str = field(repr=False)
    size: int
    output: OutputFormat


@dataclass(frozen=True, kw_only=True, slots=True)
class ResizedImage:
    """A resized image."""

    content: bytes = field(repr=False)
    output: OutputFormat
    etag: str

    @classmethod
    def of(cls, content: bytes, output: OutputFormat) -> ResizedImage:
        """Return the image of an encoded content."""
        return cls(content=content, output=output, etag=hashlib.sha256(content).hexdigest()[:24])


class ImageCache:
    """The images that were used last.

    Args:
        max_bytes: of all images together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._images: OrderedDict[ImageKey, ResizedImage] = OrderedDict()
        self.size_bytes = 0
        """Of all images together."""

    def __len__(self) -> int:
        return len(self._images)

    def get(self, key: ImageKey) -> ResizedImage | None:
        """Return an image, if it is cached."""
        image = self._images.get(key)
        if image is not None:
            self._images.move_to_end(key)
        return image

    def put(self, key: ImageKey, image: ResizedImage) -> None:
        """Keep an image, and drop those that were not used for the longest time to make room for it."""
        size = _size(key, image)
        if size > self._max_bytes:
            return
        replaced = self._images.pop(key, None)
        if replaced is not None:
            self.size_bytes -= _size(key, replaced)
        self._images[key] = image
        self.size_bytes += size
        while self.size_bytes > self._max_bytes:
            dropped = self._images.popitem(last=False)
            self.size_bytes -= _size(*dropped)


def _size(key: ImageKey, image: ResizedImage) -> int:
    return len(image.content) + len(key.url) + _ENTRY_OVERHEAD_BYTES
