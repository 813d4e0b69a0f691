"""Health of a shop's webhooks: whether they deliver, and what the last attempt to repair them found.

Webhooks are silent if an incremental sync finds changes although no delivery came within the time in which they
were made: the webhook is missing or disabled, deliveries do not arrive, or the shop changes in a way that its
platform does not announce. Either way syncs are all that finds the changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from catalog_svc.domain.sync import Sync, SyncMode, SyncState

SILENCE_EXPIRY: Final = timedelta(days=1)
"""After a day of syncs that found nothing unannounced, webhooks are not silent any more: nothing is known against
them."""
NO_WEBHOOK_SECRET: Final = "CREDENTIALS_NOT_FOUND"
"""Reason of a failed repair of a shop that is not set up for webhooks."""


class WebhookState(Enum):
    """Whether the webhooks of a shop work."""

    UNSPECIFIED = "UNSPECIFIED"
    """The shop has none that the catalog knows of."""
    ACTIVE = "ACTIVE"
    """Nothing is known against them."""
    SILENT = "SILENT"
    """A sync found changes that they did not announce."""
    FAILING = "FAILING"
    """They could not be listed or repaired at the last attempt."""


class WebhookCheckOutcome(Enum):
    """What a check of the webhooks of a shop has brought."""

    UNCHANGED = "unchanged"
    REPAIRED = "repaired"
    FAILED = "failed"
    NOT_SET_UP = "not_set_up"
    """The shop has no webhook secret."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookHealth:
    """What is known of the webhooks of a shop."""

    known_since: datetime | None = None
    """Since when they should work: the first delivery, or the last repair; None: there are none."""
    delivered_at: datetime | None = None
    """When a delivery about products was last ingested, to the minute; None: never."""
    unannounced_at: datetime | None = None
    """When a sync last found changes that they had not announced; None: a delivery came since, or never."""
    checked_at: datetime | None = None
    """When they were last checked and repaired with success; None: never."""
    repaired_count: int = 0
    """How many that repair created, enabled or changed."""
    failure_reason: str = ""
    """Why the last attempt to repair them failed; empty: it did not."""
    failure_message: str = ""

    @property
    def state(self) -> WebhookState:
        """Whether they work. A shop that never had webhooks and has no webhook secret does not fail."""
        if self.failure_reason and (self.known_since or self.failure_reason != NO_WEBHOOK_SECRET):
            return WebhookState.FAILING
        if self.known_since is None:
            return WebhookState.UNSPECIFIED
        return WebhookState.SILENT if self.unannounced_at else WebhookState.ACTIVE


@dataclass(frozen=True, kw_only=True, slots=True)
class EnsuredWebhooks:
    """The webhooks of a shop after a repair."""

    active: int
    inactive: int
    """Those that do not work nevertheless."""
    repaired: int
    """How many were created, enabled or changed."""


def unannounced_period(sync: Sync, watermark: datetime | None) -> timedelta | None:
    """Return how long before its start a sync began to find changes that webhooks should have announced.

    Args:
        sync: A sync that has ended.
        watermark: The platform's time when it began.

    Returns:
        None: the sync says nothing about webhooks. It found no change, or what it found is not known to be new: a
        full sync also finds what no platform dates, and a resumed one was interrupted for an unknown time.
    """
    if sync.state is not SyncState.SUCCEEDED or sync.mode is not SyncMode.INCREMENTAL or sync.parent_sync_id:
        return None
    if sync.updated_after is None or watermark is None or not sync.progress.has_changed:
        return None
    # Both times are the platform's, whose clock may differ from the database's.
    return watermark - sync.updated_after
