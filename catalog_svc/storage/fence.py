"""The fence of a sync's writes: no write of a worker that has lost its lease, and no write twice.

Every transaction that stores a batch or marks deletions begins with the fence, an update of the sync's row that
takes effect only under the lease's `epoch` (the fencing token: each claim adds one) and `next_seq` (the number of
the write: each write adds one). It changes one row, or the transaction has no right to write:

* It takes the row's lock, so that a takeover is strictly before or after the write.
* `next_seq` makes a write unrepeatable even for its own writer, after a commit whose answer got lost.

No clock takes part in this: the epoch alone decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.errors import LeaseLost
from catalog_svc.domain.sync import Lease
from catalog_svc.storage.syncs import SYNC_COLUMNS

OWNED: Final = "merchant_id = :merchant_id AND sync_id = :sync_id AND epoch = :epoch AND state = 'RUNNING'"
"""Condition on the sync's row: the lease of `lease_values` is the current one."""

_SELECT_APPLIED: Final = text(f"""
    SELECT {SYNC_COLUMNS} FROM sync
    WHERE merchant_id = :merchant_id AND sync_id = :sync_id AND epoch = :epoch AND next_seq = :next_seq + 1
      AND state = 'RUNNING'""")


def fence(*, also_set: str = "", returning: str) -> TextClause:
    """Return the fence statement, for the parameters of `fence_values`.

    Args:
        also_set: Further assignments to the sync's row, beginning with a comma.
        returning: Columns that the statement returns.
    """
    return text(f"""
    UPDATE sync SET next_seq = next_seq + 1{also_set}
    WHERE merchant_id = :merchant_id AND sync_id = :sync_id AND epoch = :epoch AND next_seq = :next_seq
      AND state = 'RUNNING'
    RETURNING {returning}""")


def lease_values(lease: Lease) -> dict[str, object]:
    """Return the parameters of `OWNED`."""
    return {"merchant_id": lease.merchant_id, "sync_id": lease.sync_id, "epoch": lease.epoch}


def fence_values(lease: Lease) -> dict[str, object]:
    """Return the parameters of a fence statement."""
    return {**lease_values(lease), "next_seq": lease.next_seq}


async def pass_fence(
    connection: AsyncConnection, statement: TextClause, lease: Lease, values: Mapping[str, object]
) -> Row[Any] | None:
    """Execute a fence statement. Return its row; None when this write must not take place, see `applied_row`."""
    return (await connection.execute(statement, {**fence_values(lease), **values})).first()


async def applied_row(connection: AsyncConnection, lease: Lease) -> Mapping[Any, Any]:
    """Return the sync's row, of `SYNC_COLUMNS`, if this very write was committed before and its answer got lost.

    Raises:
        LeaseLost: It was not: another worker has the lease, or the sync has ended.
    """
    row = (await connection.execute(_SELECT_APPLIED, fence_values(lease))).mappings().first()
    if row is None:
        raise LeaseLost
    return row
