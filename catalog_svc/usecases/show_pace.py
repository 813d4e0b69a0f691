"""How often followers are shown how a sync is getting on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowPace:
    """Every snapshot shown costs once per follower, and a sync may make dozens a second: most are passed over.

    What is shown is always the newest. The first news after a rest are shown at once to as many as the pace allows
    for, and the end of a sync to all.
    """

    min_interval: timedelta = timedelta(milliseconds=250)
    """Between two shows to one follower: an eye follows no faster."""
    per_second: float = 250
    """Followers that a replica shows something while news come thick and fast, as they do when a sync takes all
    the CPU it can get: a fiftieth of what it could, so that the sync is hardly slowed by those who watch it.
    Thousands of followers wait longer."""
    max_interval: timedelta = timedelta(seconds=20)
    """Between two shows to one follower while there are news, however many follow."""
    patience: timedelta = timedelta(milliseconds=300)
    """News that nothing newer replaces for so long are not thick and fast."""
    most_per_second: float = 7_500
    """Followers that a replica shows such news."""

    @property
    def reserve(self) -> float:
        """How many may be shown something at once after a rest: with fewer followers all see each show."""
        return self.per_second * self.min_interval.total_seconds()

    def rate(self, followers: int) -> float:
        """How many of the followers on this replica may be shown something in a second."""
        return max(self.per_second, followers / self.max_interval.total_seconds())

    def price(self, stood: float, *, followers: int) -> float:
        """What showing news that have stood for so many seconds takes of that rate, for each follower."""
        standing = stood >= self.patience.total_seconds()
        return min(1.0, self.rate(followers) / self.most_per_second) if standing else 1.0
