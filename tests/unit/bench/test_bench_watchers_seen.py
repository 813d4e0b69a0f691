"""Ages of snapshots, and for how long a watcher did not know of a change."""

from __future__ import annotations

from bench.watchers.seen import Arrival, Crowd


def arrival(revision: int, *, made: float, at: float, last: bool = False) -> Arrival:
    return Arrival(revision=revision, made=made, at=at, last=last)


def test_a_snapshot_is_as_old_as_its_transaction_and_the_first_has_no_age() -> None:
    crowd = Crowd()
    crowd.add([arrival(1, made=0, at=9), arrival(2, made=10, at=10.5), arrival(3, made=20, at=20.1, last=True)])
    told = crowd.told()
    assert told["snapshots"] == 2
    assert told["ended"] == 1
    assert told["age"] == {"p50": 0.1, "p99": 0.5, "max": 0.5}
    assert told["age_of_the_last"] == {"p50": 0.1, "p99": 0.1, "max": 0.1}


def test_who_was_told_of_a_later_change_was_behind_since_the_one_passed_over() -> None:
    crowd = Crowd()
    crowd.add([arrival(1, made=0, at=9), arrival(2, made=10, at=10.25), arrival(3, made=11, at=11.25)])
    crowd.add([arrival(1, made=0, at=9), arrival(3, made=11, at=11.25)])
    told = crowd.told()
    assert told["age"] == {"p50": 0.25, "p99": 0.25, "max": 0.25}
    assert told["behind"] == {"p50": 0.25, "p99": 1.25, "max": 1.25}


def test_a_stream_that_never_saw_the_end_is_not_counted_as_ended() -> None:
    crowd = Crowd()
    crowd.add([arrival(1, made=0, at=9)])
    crowd.add([])
    assert crowd.told()["ended"] == 0
