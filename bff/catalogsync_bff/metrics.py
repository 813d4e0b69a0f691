"""Metrics of the BFF."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 900, 28_800)
"""Up to 8 hours, since event streams last as long as a page is open."""


class BffMetrics:
    """Counts requests, streams and images; implements `RequestMeter` and `ImageMeter`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter("bff_requests", "Ended requests.", ["route", "status"], registry=registry)
        self._running = Gauge(
            "bff_requests_running", "Requests in progress, including event streams.", registry=registry
        )
        self._seconds = Histogram(
            "bff_request_seconds", "Duration of requests.", ["route"], buckets=_BUCKETS_SECONDS, registry=registry
        )
        self._images = Counter("bff_images", "Images by outcome.", ["outcome"], registry=registry)
        self._streams = Gauge("bff_streams", "Open event streams of browsers.", registry=registry)
        self._watched_syncs = Gauge("bff_watched_syncs", "Syncs that are watched upstream.", registry=registry)
        self._feeds = Gauge("bff_feeds", "Feeds of subjects that are read upstream.", registry=registry)
        self._image_cache = Gauge("bff_image_cache_bytes", "Resized images in memory.", registry=registry)

    def read_gauges_from(
        self,
        *,
        streams: Callable[[], float],
        watched_syncs: Callable[[], float],
        feeds: Callable[[], float],
        image_cache_bytes: Callable[[], float],
    ) -> None:
        """Call these for the numbers at each scrape."""
        self._streams.set_function(streams)
        self._watched_syncs.set_function(watched_syncs)
        self._feeds.set_function(feeds)
        self._image_cache.set_function(image_cache_bytes)

    def request_started(self) -> None:
        """Count a request that has begun."""
        self._running.inc()

    def request_ended(self, route: str, status: int, seconds: float) -> None:
        """Count a request that has ended; 499: the browser has gone away."""
        self._running.dec()
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def image_served(self, outcome: str) -> None:
        """Count an image: "cached", "fetched", or why there was none."""
        self._images.labels(outcome).inc()
