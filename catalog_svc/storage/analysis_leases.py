"""Leases of analysis tasks as statements name them.

The fence of a lease is its task's `feed_position` and `epoch`: a statement that ends, extends or completes a lease
has an effect only on the row with both, whatever the time: an expired lease whose task was not leased again may
still submit.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import Row

from catalog_svc.domain.analysis import ImageKey, TaskLease
from catalog_svc.storage.shops import ShopScope

LEASES: Final = """unnest(CAST(:analyzers AS text[]), CAST(:image_hashes AS bytea[]),
        CAST(:feed_positions AS bigint[]), CAST(:epochs AS bigint[]))
        AS lease (analyzer, image_hash, feed_position, epoch)"""
"""The leases of a call as rows."""
LEASE_COLUMNS: Final = "lease.analyzer, lease.image_hash, lease.feed_position, lease.epoch"
OF_LEASE: Final = """task.shop_id = :shop_id AND task.analyzer = lease.analyzer
      AND task.image_hash = lease.image_hash AND task.feed_position = lease.feed_position
      AND task.epoch = lease.epoch AND NOT task.dead"""
"""Whether a row of `analysis_task AS task` is the task of the lease, and the lease is its current one."""


def to_lease(scope: ShopScope, row: Row[Any]) -> TaskLease:
    """Return the lease of a row with the columns of a lease."""
    return TaskLease(
        shop_id=scope.shop_id,
        image=ImageKey(analyzer=row.analyzer, image_hash=row.image_hash),
        feed_position=row.feed_position,
        epoch=row.epoch,
    )


def lease_values(leases: Collection[TaskLease]) -> dict[str, object]:
    """Return the parameters of `LEASES`."""
    return {
        "analyzers": [lease.image.analyzer for lease in leases],
        "image_hashes": [lease.image.image_hash for lease in leases],
        "feed_positions": [lease.feed_position for lease in leases],
        "epochs": [lease.epoch for lease in leases],
    }
