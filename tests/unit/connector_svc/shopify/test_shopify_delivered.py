"""What can be told of the products that a pass has delivered."""

from __future__ import annotations

import random

import pytest

from connector_svc.platforms.shopify.delivered_ids import SKETCH_BYTES, DeliveredIds


def delivered(numbers: list[int]) -> bytes:
    ledger = DeliveredIds(b"", 0)
    for number in numbers:
        ledger.add(number)
    return ledger.packed()


def numbers_of(seed: int, count: int) -> list[int]:
    return sorted(random.Random(seed).sample(range(1, 2**62), count))


def test_the_stream_itself_knows_each_id() -> None:
    ledger = DeliveredIds(b"", 0)
    for number in range(1, 2_000):
        ledger.add(number)
    assert ledger.missing([*range(1_000, 2_000), 5_000, 6_000]) == [5_000, 6_000]


@pytest.mark.parametrize("seed", range(20))
def test_after_a_resume_those_that_never_came_are_told_from_those_that_were_deleted(seed: int) -> None:
    dice = random.Random(seed)
    everything = numbers_of(seed, 10_000)
    lost = set(dice.sample(everything[:6_000], 40))
    first = [number for number in everything[:6_000] if number not in lost]
    packed = delivered(first)
    ledger = DeliveredIds(packed, first[-1])
    for number in everything[6_000:]:
        ledger.add(number)
    deleted = set(dice.sample(first, 60))
    listed = [number for number in everything if number not in deleted]
    assert len(packed) == SKETCH_BYTES
    assert ledger.missing(listed) == sorted(lost)


def test_after_a_resume_more_changes_than_can_be_told_apart_are_not_guessed() -> None:
    everything = numbers_of(7, 5_000)
    ledger = DeliveredIds(delivered(everything), everything[-1])
    assert ledger.missing(everything[600:]) is None


def test_what_came_late_after_a_resume_is_known_after_the_next_one() -> None:
    everything = numbers_of(3, 3_000)
    ledger = DeliveredIds(delivered(everything[1:]), everything[-1])
    assert ledger.missing(everything) == everything[:1]
    ledger.add(everything[0])
    again = DeliveredIds(ledger.packed(), everything[-1])
    assert again.missing(everything) == []
