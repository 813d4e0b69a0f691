"""Ports of webhooks and refreshes: what the use cases need from the database, the connector and the metrics."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from catalog_svc.domain.refresh import (
    IngestOutcome,
    PendingRefreshes,
    QueuedRefresh,
    RefreshClaim,
    RefreshReceipt,
    RefreshRequest,
    RefreshResult,
    VerifiedWebhook,
    WebhookDelivery,
)
from catalog_svc.domain.shop import Shop
from catalog_svc.domain.source import SourceBatch
from catalog_svc.domain.sync import SyncMode


class WebhookVerifier(Protocol):
    """Verifies webhook deliveries with the secrets of the shops."""

    async def verify(self, delivery: WebhookDelivery) -> VerifiedWebhook:
        """Return which products of which shop a delivery concerns.

        Raises:
            InvalidRequest: the platform sends no webhooks, or has no such domain.
            SourceFailed: the delivery is not signed by the shop that it names (WEBHOOK_SIGNATURE_INVALID) or is
                malformed (WEBHOOK_BODY_INVALID), or the connector does not answer (CONNECTOR_UNAVAILABLE).
        """
        ...


class WebhookLimit(Protocol):
    """The rate of the verified deliveries of each shop."""

    def take(self, shop_id: UUID) -> None:
        """Count a delivery of the shop. Raises LimitExceeded if the shop has sent too many."""
        ...


class RefreshRequests(Protocol):
    """Requests to read products again."""

    async def add(self, shop: Shop, request: RefreshRequest) -> RefreshReceipt:
        """Let products of the shop be read again soon; if too many wait already, request a sync instead.

        Raises:
            ShopNotFound: the shop was deleted in the meantime.
        """
        ...

    async def pending(self) -> PendingRefreshes:
        """Return how many products wait, of all shops."""
        ...


class Refreshes(Protocol):
    """Claims of shops with products to read again, and the writes of what was read."""

    async def claim(self, *, limit: int, without_platforms: Collection[str] = ()) -> list[QueuedRefresh]:
        """Claim up to `limit` shops that are due, of other platforms than these."""
        ...

    async def take(self, queued: QueuedRefresh, *, limit: int) -> RefreshClaim | None:
        """Make the claim the reader of up to `limit` products before they are read; None: there is no shop."""
        ...

    async def write(self, claim: RefreshClaim, batch: SourceBatch) -> RefreshResult:
        """Store products that were read, each only while the claim is its reader.

        Raises:
            MassDeleteBlocked: the deletion guard stopped the batch; nothing was stored.
        """
        ...

    async def finish(self, queued: QueuedRefresh, *, more: bool = False) -> None:
        """End a claim whose reads were complete; with `more` products waiting, the shop is due at once."""
        ...

    async def fail(self, queued: QueuedRefresh, *, delay: timedelta, wanted_sync: SyncMode | None = None) -> None:
        """End a claim whose read failed; its products wait, and the shop is due after `delay`."""
        ...

    async def release(self, queued: QueuedRefresh) -> None:
        """End a claim before its read has ended, so that another replica continues at once."""
        ...

    async def leave_to_sync(self, queued: QueuedRefresh, wanted_sync: SyncMode | None) -> None:
        """End a claim and drop its products, since a sync reads them; request that sync unless it is None."""
        ...

    async def sync_started(self, queued: QueuedRefresh) -> None:
        """Record that the sync that the claim wanted was started."""
        ...


class RefreshMetrics(Protocol):
    """Counts webhooks and refreshes of this replica."""

    def webhook_received(self, platform: str, outcome: IngestOutcome) -> None:
        """Count a verified delivery."""
        ...

    def refresh_read(self, platform: str, result: RefreshResult) -> None:
        """Count a read by ids that was complete."""
        ...

    def refresh_failed(self, platform: str, reason: str) -> None:
        """Count a read by ids that failed."""
        ...
