"""Samples of the stored products of a shop: uniform, exact, and found by index alone."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.audit import MAX_RECENT_PRODUCTS, AuditSample
from catalog_svc.domain.errors import ShopNotFound
from catalog_svc.domain.shop import Shop

_RECENT: Final = timedelta(hours=1)
_MAX_RECENT_ITEMS: Final = 2_000
"""Items that are looked at to find the products that changed lately."""
_TOMBSTONE_SHARE: Final = 4
"""Of the tombstones at most a quarter of the sample size is read in addition: most are right."""
_HASHES: Final = 1 << 64

# One scan of an index that holds the ids alone. The hash with a random seed chooses each product with the same
# probability, and its order makes the sample exact; a random() in SQL could not be repeated in a test.
_SAMPLE_LIVE = text("""
    SELECT product_id FROM product
    WHERE shop_id = :shop_id AND deleted_at IS NULL
      AND hashtextextended(product_id, CAST(:seed AS bigint)) <= CAST(:threshold AS bigint)
    ORDER BY hashtextextended(product_id, CAST(:seed AS bigint)) LIMIT :size""")

_SAMPLE_TOMBSTONES = text("""
    SELECT product_id FROM product
    WHERE shop_id = :shop_id AND deleted_at IS NOT NULL
      AND hashtextextended(product_id, CAST(:seed AS bigint)) <= CAST(:threshold AS bigint)
    ORDER BY hashtextextended(product_id, CAST(:seed AS bigint)) LIMIT :size""")

_COUNT_LIVE = text("SELECT count(*) FROM product WHERE shop_id = :shop_id AND deleted_at IS NULL")

_SELECT_COUNTER = text("SELECT product_count FROM shop_state WHERE shop_id = :shop_id AND NOT deleting")

_SELECT_RECENT = text("""
    SELECT DISTINCT product_id FROM (
        SELECT product_id, updated_at FROM item WHERE shop_id = :shop_id AND deleted_at IS NULL
        ORDER BY feed_position DESC LIMIT :max_items) AS latest
    WHERE updated_at > statement_timestamp() - CAST(:recent AS interval)
    LIMIT :max_products""")


async def sample_products(connection: AsyncConnection, shop: Shop, *, size: int, seed: int) -> AuditSample:
    """Return a sample, see `AuditStore.sample`. Raises ShopNotFound."""
    values: dict[str, object] = {"shop_id": shop.shop_id, "seed": seed}
    counter: int | None = (await connection.execute(_SELECT_COUNTER, values)).scalar_one_or_none()
    if counter is None:
        raise ShopNotFound(shop.key)
    live: int = (await connection.execute(_COUNT_LIVE, values)).scalar_one()
    exact = {**values, "size": size, "threshold": _threshold(size, live)}
    sampled = list((await connection.execute(_SAMPLE_LIVE, exact)).scalars())
    # At the rate of the live ones, and without their margin.
    rate = min(1.0, size / max(live, 1))
    more = {**values, "size": size // _TOMBSTONE_SHARE, "threshold": _threshold_of(rate)}
    tombstones = list((await connection.execute(_SAMPLE_TOMBSTONES, more)).scalars())
    limits = {"recent": _RECENT, "max_items": _MAX_RECENT_ITEMS, "max_products": MAX_RECENT_PRODUCTS}
    recent = list((await connection.execute(_SELECT_RECENT, {**values, **limits})).scalars())
    ids = dict.fromkeys([*sampled, *tombstones, *recent])
    return AuditSample(product_ids=tuple(ids), count_difference=counter - live)


def _threshold(size: int, stored: int) -> int:
    """Return the highest hash of a sample: practically always more than `size` of `stored` are below it."""
    return _threshold_of(min(1.0, (size + 6 * math.sqrt(size) + 20) / max(stored, 1)))


def _threshold_of(rate: float) -> int:
    """Return the highest of a share of all hashes, which are signed 64-bit numbers."""
    return min((_HASHES >> 1) - 1, round(rate * _HASHES) - (_HASHES >> 1))
