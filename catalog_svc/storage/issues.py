"""Reading what syncs set aside."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.domain.records import RecordIssue, SyncIssue
from catalog_svc.storage.database import Database
from catalog_svc.storage.syncs import find_sync

_LIST = text("""
    SELECT issue.* FROM sync_issue AS issue
    JOIN sync ON sync.merchant_id = issue.merchant_id AND sync.sync_id = issue.sync_id
    WHERE sync.sync_id = :sync_id AND issue.number > :after
    ORDER BY issue.number LIMIT :limit""")


class IssueStore:
    """Issues by sync."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, sync_id: UUID, *, after: int, limit: int) -> list[SyncIssue]:
        """Issues with a number above `after`, in order. Raises SyncNotFound."""

        async def read(connection: AsyncConnection) -> list[SyncIssue]:
            await find_sync(connection, sync_id)
            rows = await connection.execute(_LIST, {"sync_id": sync_id, "after": after, "limit": limit})
            return [
                SyncIssue(
                    number=row.number,
                    issue=RecordIssue(
                        reason=row.reason,
                        product_id=row.product_id,
                        item_id=row.item_id,
                        field=row.field,
                        message=row.message,
                        sample=row.sample,
                        product_rejected=row.product_set_aside,
                    ),
                    created_at=row.created_at,
                )
                for row in rows
            ]

        return await self._database.read(read)
