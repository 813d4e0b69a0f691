"""Durations from the journal and from the clients. Both use the clock of this machine."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import UUID

from tests.chaos.journal import ConnectionRegistry, Entry


@dataclass(frozen=True, kw_only=True, slots=True)
class Takeover:
    """A sync that was claimed again after its owner was lost. Times are Unix times."""

    sync_id: UUID
    lost_owner: str
    lost_at: float
    claimed_at: float

    @property
    def seconds(self) -> float:
        """How long the sync was not worked on."""
        return self.claimed_at - self.lost_at


def takeovers(
    histories: Mapping[UUID, Sequence[Entry]],
    connections: ConnectionRegistry,
    losses: Iterable[tuple[str, float]],
) -> list[Takeover]:
    """Return the next claim of each sync whose owner was lost.

    A frozen replica may resume and continue before any other one claims its sync: the takeover is then timed
    from the last entry before the claim.

    Args:
        histories: The entries of each sync.
        connections: Who wrote which entry.
        losses: Identities of lost replica processes, and the Unix times of the losses.
    """
    owners = _owners(histories, connections)
    losses = list(losses)
    found = []
    for sync_id, entries in histories.items():
        for identity, lost_at in losses:
            before = [entry for entry in entries if entry.at <= lost_at]
            if not before or before[-1].owner is None or owners.get(before[-1].owner) != identity:
                continue
            claim = next(
                (e for e in entries if e.at > lost_at and e.epoch > before[-1].epoch and not e.ended), None
            )
            if claim is not None:
                last = max(entry.at for entry in entries if entry.at < claim.at)
                found.append(
                    Takeover(sync_id=sync_id, lost_owner=identity, lost_at=max(lost_at, last), claimed_at=claim.at)
                )
    return found


def seconds_until_stored(histories: Mapping[UUID, Sequence[Entry]], moments: Iterable[float]) -> list[float]:
    """Return the seconds from each moment (a Unix time) to the next stored batch of any sync."""
    stored = sorted(
        after.at
        for entries in histories.values()
        for before, after in pairwise(entries)
        if after.next_seq > before.next_seq
    )
    positions = [(moment, bisect_right(stored, moment)) for moment in moments]
    return [stored[position] - moment for moment, position in positions if position < len(stored)]


def snapshot_ages(
    histories: Mapping[UUID, Sequence[Entry]], snapshots: Iterable[tuple[str, int, float]]
) -> list[float]:
    """Return the seconds from the transaction of each revision to its arrival at a watcher.

    Args:
        histories: The entries of each sync.
        snapshots: Sync id, revision and Unix time of arrival of what the watchers received.
    """
    # Only the first entry of a revision counts: the fence of the next batch is written later without a new one.
    written: dict[tuple[str, int], float] = {}
    for sync_id, entries in histories.items():
        for entry in entries:
            written.setdefault((str(sync_id), entry.revision), entry.at)
    return [
        at - written[sync_id, revision] for sync_id, revision, at in snapshots if (sync_id, revision) in written
    ]


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Return the count and the percentiles (nearest rank) in seconds."""
    ordered = sorted(seconds)
    if not ordered:
        return {"count": 0, "p50": None, "p99": None, "max": None}
    ranks = {
        name: ordered[min(len(ordered) - 1, int(len(ordered) * part))]
        for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }
    return {"count": len(ordered), **{name: round(value, 2) for name, value in ranks.items()}}


def _owners(histories: Mapping[UUID, Sequence[Entry]], connections: ConnectionRegistry) -> dict[UUID, str]:
    """Return the process identity behind each owner id: the process that wrote its claim."""
    return {
        after.owner: identity
        for entries in histories.values()
        for before, after in pairwise(entries)
        if after.epoch > before.epoch
        and after.owner
        and not after.ended
        and (identity := connections.writer(after))
    }
