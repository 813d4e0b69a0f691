"""A fake of the `ExclusiveRight` port: the leases of all replicas, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID


@dataclass(slots=True)
class Right:
    """A right in memory, with the state of all that share it."""

    owners: dict[str, UUID]
    name: str
    owner: UUID

    async def acquire(self, *, ttl: timedelta) -> bool:
        return self.owners.setdefault(self.name, self.owner) == self.owner

    async def release(self) -> None:
        if self.owners.get(self.name) == self.owner:
            del self.owners[self.name]
