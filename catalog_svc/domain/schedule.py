"""How often a shop is synced without being asked, and when it is next."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from catalog_svc.domain.shop import Shop
from catalog_svc.domain.sync import SyncMode

NEVER = timedelta()
RETRY_BROKEN_EVERY = timedelta(days=1)
"""For a shop that somebody must repair first: it is tried again no earlier than this after its last sync."""
_SHORTEST = 0.9
"""Of an interval: turns come a little early by chance, so that shops that once met part again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleDefaults:
    """For shops that say nothing else; NEVER: not at all."""

    incremental_every: timedelta = NEVER
    full_every: timedelta = NEVER


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSchedule:
    """What a shop says itself, and its next turns."""

    incremental_every: timedelta | None = None
    """None: the default. NEVER: not at all."""
    full_every: timedelta | None = None
    paused: bool = False
    incremental_due_at: datetime | None = None
    """UTC, the database's clock; None: never."""
    full_due_at: datetime | None = None

    def under(self, defaults: ScheduleDefaults) -> ShopSchedule:
        """What is in effect."""
        own_incremental, own_full = self.incremental_every, self.full_every
        return ShopSchedule(
            incremental_every=defaults.incremental_every if own_incremental is None else own_incremental,
            full_every=defaults.full_every if own_full is None else own_full,
            incremental_is_default=own_incremental is None,
            full_is_default=own_full is None,
            paused=self.paused,
            next_due_at=None if self.paused else self.next_due_at,
        )

    @property
    def next_due_at(self) -> datetime | None:
        """The earlier turn; None: there is none."""
        return min((due for due in (self.incremental_due_at, self.full_due_at) if due is not None), default=None)

    def planned(self, defaults: ScheduleDefaults, now: datetime) -> StoredSchedule:
        """With turns that fit the intervals: a new one falls anywhere within its first interval."""
        effective = self.under(defaults)
        return replace(
            self,
            incremental_due_at=_fitting(self.incremental_due_at, effective.incremental_every, now),
            full_due_at=_fitting(self.full_due_at, effective.full_every, now),
        )

    def due(self, now: datetime) -> SyncMode | None:
        """What to start now; None: nothing."""
        if self.paused:
            return None
        if self.full_due_at is not None and self.full_due_at <= now:
            return SyncMode.FULL
        if self.incremental_due_at is not None and self.incremental_due_at <= now:
            return SyncMode.INCREMENTAL
        return None

    def after(self, mode: SyncMode, defaults: ScheduleDefaults, now: datetime) -> StoredSchedule:
        """With the next turns after a sync of that mode was started: a full one is an incremental one too."""
        effective = self.under(defaults)
        following = replace(self, incremental_due_at=_following(effective.incremental_every, now))
        if mode is SyncMode.FULL:
            following = replace(following, full_due_at=_following(effective.full_every, now))
        return following


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopSchedule:
    """What is in effect for a shop."""

    incremental_every: timedelta
    """NEVER: not at all."""
    full_every: timedelta
    incremental_is_default: bool
    full_is_default: bool
    paused: bool
    next_due_at: datetime | None
    """UTC; None: never, or paused."""

    def not_before(self, earliest: datetime) -> ShopSchedule:
        """The same, with nothing due before `earliest`."""
        if self.next_due_at is None or self.next_due_at >= earliest:
            return self
        return replace(self, next_due_at=earliest)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleChange:
    """What to change; None: nothing, or with `reset` back to the default."""

    incremental_every: timedelta | None = None
    full_every: timedelta | None = None
    paused: bool | None = None
    reset: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduledShop:
    """A shop with its schedule, as read at `now` of the database's clock."""

    shop: Shop
    schedule: StoredSchedule
    now: datetime


def _fitting(due_at: datetime | None, every: timedelta, now: datetime) -> datetime | None:
    if every == NEVER:
        return None
    if due_at is None or due_at > now + every:
        return now + random.random() * every
    return due_at


def _following(every: timedelta, now: datetime) -> datetime | None:
    return None if every == NEVER else now + random.uniform(_SHORTEST, 1) * every
