"""Schedule of a shop: how often it is synced without a request, and when it is due next."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from catalog_svc.domain.shop import Shop, ShopChange, ShopField
from catalog_svc.domain.sync import SyncMode

NEVER = timedelta()
"""An interval of zero: no scheduled syncs of this mode."""
RETRY_BROKEN_INTERVAL = timedelta(days=1)
"""A broken shop, which the merchant or an operator must repair first, is synced no earlier than this after its
last
sync."""
RETRY_BLOCKED_DELETION_INTERVAL = timedelta(hours=1)
"""After which the full sync comes that may agree with a stopped deletion: so late that a cache or an outage of the
platform, which caused it, may be over, and long before the shop's next full sync may be due."""
_MIN_INTERVAL_SHARE = 0.9
"""The next sync comes after a random share of the interval between this and 1, so that shops that were due at the
same
time are spread again (jitter)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleDefaults:
    """Intervals of shops without intervals of their own; NEVER: no scheduled syncs."""

    incremental_every: timedelta = NEVER
    full_every: timedelta = NEVER
    silent_every: timedelta = NEVER
    """Longest incremental interval, if there is one, of shops whose webhooks are silent; NEVER: not shortened."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSchedule:
    """Intervals of a shop's own, and its next due times."""

    incremental_every: timedelta | None = None
    """None: the default. NEVER: no scheduled syncs."""
    full_every: timedelta | None = None
    paused: bool = False
    incremental_due_at: datetime | None = None
    """UTC, the database's clock; None: never."""
    full_due_at: datetime | None = None
    not_before: datetime | None = None
    """No sync is due earlier: the shop is broken, or was being synced when it was due."""
    unannounced_at: datetime | None = None
    """When a sync last found changes that no webhook had announced; None: the webhooks are not silent."""

    def effective(self, defaults: ScheduleDefaults) -> ShopSchedule:
        """Return the schedule in effect: the shop's own intervals, else the defaults."""
        own_incremental, own_full = self.incremental_every, self.full_every
        return ShopSchedule(
            incremental_every=defaults.incremental_every if own_incremental is None else own_incremental,
            full_every=defaults.full_every if own_full is None else own_full,
            incremental_is_default=own_incremental is None,
            full_is_default=own_full is None,
            paused=self.paused,
            next_due_at=None if self.paused else self.next_due_at,
        )

    def incremental_interval(self, defaults: ScheduleDefaults) -> timedelta:
        """Return the interval by which incremental syncs are planned: a shorter one while webhooks are silent."""
        every = self.effective(defaults).incremental_every
        if self.unannounced_at is None or NEVER in (every, defaults.silent_every):
            return every
        return min(every, defaults.silent_every)

    @property
    def next_due_at(self) -> datetime | None:
        """The earlier of the two due times, but not before `not_before`; None: there is none."""
        due_times = [due for due in (self.incremental_due_at, self.full_due_at) if due is not None]
        if not due_times:
            return None
        return max(min(due_times), self.not_before) if self.not_before else min(due_times)

    def changed(self, change: ShopChange) -> StoredSchedule:
        """Return the schedule with the fields of the change; its due times stay as they are."""
        changed, fields = self, change.fields
        if ShopField.INCREMENTAL_INTERVAL in fields:
            changed = replace(changed, incremental_every=change.incremental_every)
        if ShopField.FULL_INTERVAL in fields:
            changed = replace(changed, full_every=change.full_every)
        if ShopField.PAUSED in fields:
            changed = replace(changed, paused=change.paused)
        return changed

    def planned(self, defaults: ScheduleDefaults, now: datetime) -> StoredSchedule:
        """Return the schedule with due times that fit the intervals.

        A new due time is random within the first interval, so that shops are spread.
        """
        effective = self.effective(defaults)
        return replace(
            self,
            incremental_due_at=_fit_due_time(self.incremental_due_at, self.incremental_interval(defaults), now),
            full_due_at=_fit_due_time(self.full_due_at, effective.full_every, now),
        )

    def due(self, now: datetime) -> SyncMode | None:
        """Return the mode of the sync to start now; None: no sync is due."""
        if self.paused:
            return None
        if self.full_due_at is not None and self.full_due_at <= now:
            return SyncMode.FULL
        if self.incremental_due_at is not None and self.incremental_due_at <= now:
            return SyncMode.INCREMENTAL
        return None

    def after_start(self, mode: SyncMode, defaults: ScheduleDefaults, now: datetime) -> StoredSchedule:
        """Return the schedule after a sync of this mode was started, with the next due times.

        A full sync replaces the incremental one that is due.
        """
        effective = self.effective(defaults)
        due_at = _next_due_time(self.incremental_interval(defaults), now)
        scheduled = replace(self, incremental_due_at=due_at, not_before=None)
        if mode is SyncMode.FULL:
            scheduled = replace(scheduled, full_due_at=_next_due_time(effective.full_every, now))
        return scheduled


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopSchedule:
    """The schedule of a shop: its own intervals, else the defaults."""

    incremental_every: timedelta
    """NEVER: no scheduled syncs."""
    full_every: timedelta
    incremental_is_default: bool
    full_is_default: bool
    paused: bool
    next_due_at: datetime | None
    """UTC; None: never, or paused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduledShop:
    """A shop with its schedule, as read at `now` by the database's clock."""

    shop: Shop
    schedule: StoredSchedule
    now: datetime


def _fit_due_time(due_at: datetime | None, every: timedelta, now: datetime) -> datetime | None:
    if every == NEVER:
        return None
    if due_at is None or due_at > now + every:
        return now + random.random() * every
    return due_at


def _next_due_time(every: timedelta, now: datetime) -> datetime | None:
    return None if every == NEVER else now + random.uniform(_MIN_INTERVAL_SHARE, 1) * every
