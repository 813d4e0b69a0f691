"""Leases of loops that only one replica runs at a time. The database's clock decides."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog_svc.storage.database import Database

_ACQUIRE: Final = text("""
    INSERT INTO loop_lease (name, owner, lease_until) VALUES (:name, :owner, clock_timestamp() + :ttl)
    ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until
    WHERE loop_lease.owner = excluded.owner OR loop_lease.lease_until < clock_timestamp()""")

_RELEASE: Final = text("DELETE FROM loop_lease WHERE name = :name AND owner = :owner")


class LoopLease:
    """The right of one replica, the `owner`, to run the loop `name`.

    Two replicas may believe for a moment that they have it: what the loop does must be safe for two.
    """

    def __init__(self, database: Database, *, name: str, owner: UUID) -> None:
        self._database = database
        self._values = {"name": name, "owner": owner}

    async def acquire(self, *, ttl: timedelta) -> bool:
        """Take or extend the lease, for `ttl`; return whether this replica has it, and no other one."""

        async def work(connection: AsyncConnection) -> bool:
            return (await connection.execute(_ACQUIRE, {**self._values, "ttl": ttl})).rowcount == 1

        return await self._database.write(work)

    async def release(self) -> None:
        """Let another replica run the loop at once; without effect when this one does not have the lease."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_RELEASE, self._values)

        await self._database.write(work)
