"""The journal finds each way in which a sync can have been written wrongly."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from tests.chaos import journal
from tests.chaos.journal import Entry, Writers

SYNC = uuid4()
ORDERED = Entry(
    at=1, txid=1, port=None, sync_id=SYNC, state="PENDING", mode="FULL", epoch=0, owner=None, revision=1,
    next_seq=0, checkpoint="", products_seen=0, products_created=0, products_set_aside=0, added=0,
)  # fmt: skip
CLAIMED = replace(ORDERED, at=2, txid=2, port=10, state="RUNNING", epoch=1, owner=uuid4(), revision=2)
FENCED = replace(CLAIMED, at=3, txid=3, port=11, next_seq=1)
STORED = replace(FENCED, revision=3, checkpoint="a", products_seen=9, products_created=9, added=9)
FOUND_BY_ID = replace(STORED, at=4, txid=4, next_seq=2, revision=4, products_seen=11, added=2)
CREATED_BY_ID = replace(
    FOUND_BY_ID, at=4, txid=5, next_seq=3, revision=5, products_seen=12, products_created=10, added=0
)
SWEPT = replace(CREATED_BY_ID, at=5, txid=6, next_seq=4)
ENDED = replace(SWEPT, at=6, txid=7, state="SUCCEEDED", owner=None, revision=6)
GOOD = (ORDERED, CLAIMED, FENCED, STORED, FOUND_BY_ID, CREATED_BY_ID, SWEPT, ENDED)


def found(*entries: Entry) -> list[str]:
    writers = Writers()
    for port, identity in ((10, "first#1"), (11, "first#1"), (12, "second#1")):
        writers.opened(port, identity, 0.0)
    return journal.faults({SYNC: entries}, writers)


def test_a_proper_history_has_no_fault() -> None:
    assert found(*GOOD) == []


def test_a_batch_that_counts_a_product_of_the_pass_again_is_named() -> None:
    assert journal.repeats(GOOD[:5]) == []
    again = replace(STORED, at=4, txid=4, next_seq=2, revision=4, checkpoint="b", products_seen=12, added=1)
    assert journal.repeats((*GOOD[:4], again)) == ["batch 2 counted 3 products and added 1"]


AGAIN_FENCED = replace(STORED, at=4, txid=4, next_seq=2, added=0)
FAULTS = [
    ((ORDERED, CLAIMED, replace(FENCED, port=12), replace(STORED, port=12)), "written by second#1 while first#1"),
    ((ORDERED, CLAIMED, FENCED, STORED, AGAIN_FENCED, replace(AGAIN_FENCED, revision=4, products_seen=18)),
     "batches 1 and 2 end at the same checkpoint"),
    ((ORDERED, replace(CLAIMED, epoch=2)), "epoch went from 0 to 2"),
    ((*GOOD, replace(ENDED, txid=8, state="RUNNING", revision=7)), "changed after it was SUCCEEDED"),
    ((ORDERED, CLAIMED, FENCED, replace(STORED, revision=4)), "revision went from 2 to 4"),
    ((ORDERED, CLAIMED, FENCED, replace(STORED, revision=2)), "moved the revision from 2 to 2"),
    ((ORDERED, CLAIMED, replace(FENCED, next_seq=0), replace(STORED, next_seq=2)), "1 steps were stored"),
]  # fmt: skip


@pytest.mark.parametrize(("entries", "fault"), FAULTS, ids=[fault for _, fault in FAULTS])
def test_what_no_history_may_show_is_told(entries: tuple[Entry, ...], fault: str) -> None:
    assert any(fault in told for told in found(*entries))
