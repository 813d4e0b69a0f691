"""Counts the points of a devstore's bucket while somebody reads from it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from devstore.request_log import RequestLog
from devstore.shopify.rate_limit import LeakyBucket


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What a way to read a shop cost."""

    items: int
    """Variants in the shop."""
    read: int
    calls: int
    throttled: int
    points: int
    given: int
    """Points that the bucket held at first or restored until the last call was sent."""
    used_share: float
    """Of those, what was not left over when the last call was sent, nor lost at the bucket's rim."""
    calls_per_10k: float
    points_per_10k: float
    seconds: float


class Meter:
    """Looks at the bucket from its making on."""

    def __init__(self, bucket: LeakyBucket, traffic: RequestLog) -> None:
        self._bucket = bucket
        self._traffic = traffic
        self._began = time.monotonic()

    def spent(self, *, items: int, read: int) -> Spent:
        """Everything since the beginning."""
        limit, first, last = self._bucket.limit, self._bucket.first_take, self._bucket.last_take
        assert first is not None
        assert last is not None
        given = limit.maximum + (last.at - first.at) * limit.per_second
        unused = last.left + self._bucket.lost - first.lost
        traffic = self._traffic
        return Spent(
            items=items,
            read=read,
            calls=traffic.calls,
            throttled=traffic.throttled,
            points=traffic.points,
            given=round(given),
            used_share=round(1 - unused / given, 4),
            calls_per_10k=round(traffic.calls * 10_000 / items, 2),
            points_per_10k=round(traffic.points * 10_000 / items, 1),
            seconds=round(time.monotonic() - self._began, 1),
        )
