"""The journal detects each way in which the row of a sync can be written wrongly."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from tests.chaos import journal
from tests.chaos.journal import ConnectionRegistry, Entry

SYNC = uuid4()
CREATED = Entry(
    at=1, txid=1, port=None, sync_id=SYNC, state="PENDING", mode="FULL", epoch=0, owner=None, revision=1,
    next_seq=0, checkpoint="", products_seen=0, products_created=0, products_rejected=0, added=0,
)  # fmt: skip
CLAIMED = replace(CREATED, at=2, txid=2, port=10, state="RUNNING", epoch=1, owner=uuid4(), revision=2)
FENCED = replace(CLAIMED, at=3, txid=3, port=11, next_seq=1)
STORED = replace(FENCED, revision=3, checkpoint="a", products_seen=9, products_created=9, added=9)
FOUND_BY_ID = replace(STORED, at=4, txid=4, next_seq=2, revision=4, products_seen=11, added=2)
CREATED_BY_ID = replace(
    FOUND_BY_ID, at=4, txid=5, next_seq=3, revision=5, products_seen=12, products_created=10, added=0
)
SWEPT = replace(CREATED_BY_ID, at=5, txid=6, next_seq=4)
ENDED = replace(SWEPT, at=6, txid=7, state="SUCCEEDED", owner=None, revision=6)
VALID = (CREATED, CLAIMED, FENCED, STORED, FOUND_BY_ID, CREATED_BY_ID, SWEPT, ENDED)


def violations(*entries: Entry) -> list[str]:
    connections = ConnectionRegistry()
    for port, identity in ((10, "first#1"), (11, "first#1"), (12, "second#1")):
        connections.register(port, identity, 0.0)
    return journal.violations({SYNC: entries}, connections)


def test_a_valid_history_has_no_violation() -> None:
    assert violations(*VALID) == []


def test_a_batch_that_counts_a_product_of_the_pass_twice_is_reported() -> None:
    assert journal.recounted_batches(VALID[:5]) == []
    again = replace(STORED, at=4, txid=4, next_seq=2, revision=4, checkpoint="b", products_seen=12, added=1)
    assert journal.recounted_batches((*VALID[:4], again)) == ["batch 2 counted 3 products and added 1"]


FENCED_AGAIN = replace(STORED, at=4, txid=4, next_seq=2, added=0)
VIOLATIONS = [
    ((CREATED, CLAIMED, replace(FENCED, port=12), replace(STORED, port=12)), "written by second#1 while first#1"),
    ((CREATED, CLAIMED, FENCED, STORED, FENCED_AGAIN, replace(FENCED_AGAIN, revision=4, products_seen=18)),
     "batches 1 and 2 end at the same checkpoint"),
    ((CREATED, replace(CLAIMED, epoch=2), replace(CLAIMED, revision=3)), "epoch went from 2 to 1"),
    ((*VALID, replace(ENDED, txid=8, state="RUNNING", revision=7)), "changed after it was SUCCEEDED"),
    ((CREATED, CLAIMED, FENCED, replace(STORED, revision=4)), "revision went from 2 to 4"),
    ((CREATED, CLAIMED, FENCED, replace(STORED, revision=2)), "changed the revision from 2 to 2"),
    ((CREATED, CLAIMED, replace(FENCED, next_seq=0), replace(STORED, next_seq=2)),
     "1 fenced transactions were stored"),
]  # fmt: skip


@pytest.mark.parametrize(("entries", "violation"), VIOLATIONS, ids=[violation for _, violation in VIOLATIONS])
def test_each_violation_is_reported(entries: tuple[Entry, ...], violation: str) -> None:
    assert any(violation in reported for reported in violations(*entries))
