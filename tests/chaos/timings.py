"""How long things took, by the journal's clock and ours: both are the machine's."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import UUID

from tests.chaos.journal import Entry, Writers


@dataclass(frozen=True, kw_only=True, slots=True)
class Takeover:
    """A sync that went on in other hands. Unix times."""

    sync_id: UUID
    loser: str
    lost: float
    taken: float

    @property
    def seconds(self) -> float:
        """For so long nobody worked on it."""
        return self.taken - self.lost


def takeovers(
    histories: Mapping[UUID, Sequence[Entry]], writers: Writers, losses: Iterable[tuple[str, float]]
) -> list[Takeover]:
    """For each life that held a sync when it was lost: the next claim of that sync, by then from its last word.

    A frozen replica may come back before anybody takes over, and go on.
    """
    owners = _owners(histories, writers)
    losses = list(losses)
    found = []
    for sync_id, entries in histories.items():
        for loser, lost in losses:
            before = [entry for entry in entries if entry.at <= lost]
            if not before or before[-1].owner is None or owners.get(before[-1].owner) != loser:
                continue
            claim = next((e for e in entries if e.at > lost and e.epoch > before[-1].epoch and not e.ended), None)
            if claim is not None:
                last = max(entry.at for entry in entries if entry.at < claim.at)
                found.append(Takeover(sync_id=sync_id, loser=loser, lost=max(lost, last), taken=claim.at))
    return found


def until_written(histories: Mapping[UUID, Sequence[Entry]], moments: Iterable[float]) -> list[float]:
    """Seconds from each moment to the next batch that anybody stored."""
    stored = sorted(
        after.at
        for entries in histories.values()
        for before, after in pairwise(entries)
        if after.next_seq > before.next_seq
    )
    places = [(moment, bisect_right(stored, moment)) for moment in moments]
    return [stored[place] - moment for moment, place in places if place < len(stored)]


def of_snapshots(histories: Mapping[UUID, Sequence[Entry]], seen: Iterable[tuple[str, int, float]]) -> list[float]:
    """Seconds from the transaction that made a revision to its arrival at a watcher: (sync, revision, when)."""
    # The fence of the next batch comes later and has the same revision.
    made: dict[tuple[str, int], float] = {}
    for sync_id, entries in histories.items():
        for entry in entries:
            made.setdefault((str(sync_id), entry.revision), entry.at)
    return [at - made[sync_id, revision] for sync_id, revision, at in seen if (sync_id, revision) in made]


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Count and percentiles (nearest rank), in seconds."""
    ordered = sorted(seconds)
    if not ordered:
        return {"count": 0, "p50": None, "p99": None, "max": None}
    ranks = {
        name: ordered[min(len(ordered) - 1, int(len(ordered) * part))]
        for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }
    return {"count": len(ordered), **{name: round(value, 2) for name, value in ranks.items()}}


def _owners(histories: Mapping[UUID, Sequence[Entry]], writers: Writers) -> dict[UUID, str]:
    """Which life each owner's id was of: that of whoever wrote its claim."""
    return {
        after.owner: identity
        for entries in histories.values()
        for before, after in pairwise(entries)
        if after.epoch > before.epoch and after.owner and not after.ended and (identity := writers.of(after))
    }
