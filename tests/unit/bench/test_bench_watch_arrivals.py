"""Ages of snapshots, and for how long a watcher did not know of a change."""

from __future__ import annotations

from bench.watch.arrivals import Arrival, Arrivals


def arrival(revision: int, *, written: float, arrived: float, is_terminal: bool = False) -> Arrival:
    return Arrival(revision=revision, written_at=written, arrived_at=arrived, is_terminal=is_terminal)


def test_an_age_counts_from_the_transaction_and_the_first_snapshot_has_none() -> None:
    arrivals = Arrivals()
    arrivals.add(
        "a",
        [
            arrival(1, written=0, arrived=9),
            arrival(2, written=10, arrived=10.5),
            arrival(3, written=20, arrived=20.1, is_terminal=True),
        ],
    )
    summary = arrivals.summary()
    assert summary["snapshots"] == 2
    assert summary["ended"] == 1
    assert summary["age"] == {"p50": 0.1, "p99": 0.5, "max": 0.5}
    assert summary["age_of_terminal"] == {"p50": 0.1, "p99": 0.1, "max": 0.1}


def test_a_watcher_that_skipped_a_revision_was_behind_since_that_revision() -> None:
    arrivals = Arrivals()
    arrivals.add(
        "a",
        [
            arrival(1, written=0, arrived=9),
            arrival(2, written=10, arrived=10.25),
            arrival(3, written=11, arrived=11.25),
        ],
    )
    arrivals.add("a", [arrival(1, written=0, arrived=9), arrival(3, written=11, arrived=11.25)])
    summary = arrivals.summary()
    assert summary["age"] == {"p50": 0.25, "p99": 0.25, "max": 0.25}
    assert summary["behind"] == {"p50": 0.25, "p99": 1.25, "max": 1.25}


def test_revisions_of_one_sync_are_not_taken_for_those_of_another() -> None:
    arrivals = Arrivals()
    arrivals.add("a", [arrival(1, written=0, arrived=1), arrival(2, written=10, arrived=10.5)])
    arrivals.add("b", [arrival(1, written=5, arrived=6), arrival(3, written=30, arrived=30.5)])
    assert arrivals.summary()["behind"] == {"p50": 0.5, "p99": 0.5, "max": 0.5}


def test_a_stream_without_a_terminal_snapshot_is_not_counted_as_ended() -> None:
    arrivals = Arrivals()
    arrivals.add("a", [arrival(1, written=0, arrived=9)])
    arrivals.add("a", [])
    assert arrivals.summary()["ended"] == 0
