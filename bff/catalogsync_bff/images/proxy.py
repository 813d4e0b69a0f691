"""Fetches, resizes and caches images; what several browsers want at once is fetched once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from functools import partial
from typing import Final, Protocol

from catalogsync_bff.images.cache import ImageCache, ImageKey, ResizedImage
from catalogsync_bff.images.fetching import ImageFetcher, ImageUnavailable
from catalogsync_bff.images.resizing import ImageUnusable, resize

_MAX_FETCHES: Final = 16
_MAX_DECODERS: Final = 2
"""A decoded image of the largest size takes 160 MB."""
_MAX_PENDING: Final = 256


class TooManyImages(Exception):
    """More images are being fetched than wait in line at most."""


class ImageMeter(Protocol):
    """Counts images."""

    def image_served(self, outcome: str) -> None: ...


class ImageProxy:
    """Images by address and size.

    Args:
        fetcher: fetches them.
        cache: keeps them.
        meter: counts them.
        max_pending: how many images may be fetched or wait for it.
    """

    def __init__(
        self, fetcher: ImageFetcher, cache: ImageCache, meter: ImageMeter, *, max_pending: int = _MAX_PENDING
    ) -> None:
        self._fetcher = fetcher
        self._cache = cache
        self._meter = meter
        self._max_pending = max_pending
        self._free_fetches = asyncio.Semaphore(_MAX_FETCHES)
        # Of its own: a large image must not keep other work of the process waiting.
        self._decoders = ThreadPoolExecutor(max_workers=_MAX_DECODERS, thread_name_prefix="decode")
        self._pending: dict[ImageKey, asyncio.Task[ResizedImage]] = {}

    async def get(self, key: ImageKey) -> ResizedImage:
        """Return an image.

        Raises:
            ImageUnusable: there is no image at the address that can be shown.
            ImageUnavailable: the host did not return it.
            TooManyImages: too many images are being fetched.
        """
        cached = self._cache.get(key)
        if cached is not None:
            self._meter.image_served("cached")
            return cached
        task = self._pending.get(key)
        if task is None:
            if len(self._pending) >= self._max_pending:
                self._meter.image_served("too_many")
                raise TooManyImages
            # In a context of its own: other requests may wait for it, too.
            task = asyncio.create_task(self._load(key), name="image", context=Context())
            self._pending[key] = task
            task.add_done_callback(partial(self._done, key))
        # The image is wanted by the next browser even if this one goes away.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Stop fetching."""
        tasks = list(self._pending.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._decoders.shutdown(wait=False, cancel_futures=True)

    async def _load(self, key: ImageKey) -> ResizedImage:
        async with self._free_fetches:
            content = await self._fetcher.fetch(key.url)
            work: Callable[[], bytes] = partial(resize, content, size=key.size, output=key.output)
            resized = await asyncio.get_running_loop().run_in_executor(self._decoders, work)
        image = ResizedImage.of(resized, key.output)
        self._cache.put(key, image)
        return image

    def _done(self, key: ImageKey, task: asyncio.Task[ResizedImage]) -> None:
        del self._pending[key]
        if task.cancelled():
            return
        match task.exception():
            case None:
                self._meter.image_served("fetched")
            case ImageUnusable():
                self._meter.image_served("unusable")
            case ImageUnavailable():
                self._meter.image_served("unavailable")
            case _:
                self._meter.image_served("failed")
