"""Ports of audits: what the use cases need from the database and the metrics."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from catalog_svc.domain.audit import AuditResult, AuditSample, SettledProducts, StoredState
from catalog_svc.domain.refresh import RefreshClaim
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.source import SourceBatch


class AuditedCatalog(Protocol):
    """The stored products of a shop, to be compared and repaired."""

    async def sample(self, shop: Shop, *, size: int, seed: int) -> AuditSample:
        """Return a uniform random sample of the products, and those that changed lately. Raises ShopNotFound."""
        ...

    async def state(self, shop: Shop, product_ids: Collection[str], item_ids: Collection[str]) -> StoredState:
        """Return what is stored of these products, and under these ids of items. Raises ShopNotFound."""
        ...

    async def take(self, shop: Shop, claim_id: UUID, product_ids: Sequence[str]) -> RefreshClaim:
        """Make the claim the reader of those of these products that no refresh reads. Raises ShopNotFound."""
        ...

    async def settle(
        self,
        claim: RefreshClaim,
        batch: SourceBatch,
        *,
        suspected: Collection[str],
        overlap: timedelta,
        repair: bool = True,
    ) -> SettledProducts:
        """Compare products that the claim has read; repair those of `suspected` that still differ.

        Raises:
            MassDeleteBlocked: the deletion guard stopped the repair; nothing was stored.
            ShopNotFound: the shop was deleted.
        """
        ...

    async def release(self, claim: RefreshClaim) -> None:
        """End the claim."""
        ...

    async def correct_counters(self, shop: Shop) -> None:
        """Set the shop's counters to the rows that are stored."""
        ...

    async def request_full_sync(self, shop: Shop) -> None:
        """Let a full sync of the shop start soon."""
        ...


class ExclusiveRight(Protocol):
    """The right to do something that is done once at a time."""

    async def acquire(self, *, ttl: timedelta) -> bool:
        """Take or extend it for `ttl`; return whether it was free or ours."""
        ...

    async def release(self) -> None:
        """Return it."""
        ...


class AuditRecords(Protocol):
    """Which audits are due, and what the last one of each shop found."""

    async def due(self, *, interval: timedelta, limit: int) -> list[UUID]:
        """Return shops with a healthy connection and no attempt of an audit for so long, the oldest first."""
        ...

    async def begin(self, shop: Shop) -> None:
        """Record that an audit is tried."""
        ...

    async def end(self, shop: Shop, result: AuditResult) -> None:
        """Record what an audit found."""
        ...


class AuditMetrics(Protocol):
    """Counts audits of this replica."""

    def audit_ended(self, platform: str, result: AuditResult) -> None:
        """Count an audit that has a result."""
        ...

    def audit_failed(self, platform: str, reason: str) -> None:
        """Count an audit that failed."""
        ...
