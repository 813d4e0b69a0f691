"""Finding the listed ids that a pass has not delivered, before and after a resume."""

from __future__ import annotations

import random

import pytest

from connector_svc.platforms.shopify.delivered_ids import SKETCH_BYTES, DeliveredIds


def packed_ids(numbers: list[int]) -> bytes:
    ids = DeliveredIds(b"", 0)
    for number in numbers:
        ids.add(number)
    return ids.packed()


def random_ids(seed: int, count: int) -> list[int]:
    return sorted(random.Random(seed).sample(range(1, 2**62), count))


def test_a_stream_that_was_not_resumed_finds_every_missing_id() -> None:
    ids = DeliveredIds(b"", 0)
    for number in range(1, 2_000):
        ids.add(number)
    assert ids.missing([*range(1_000, 2_000), 5_000, 6_000]) == [5_000, 6_000]


@pytest.mark.parametrize("seed", range(20))
def test_after_a_resume_missing_products_are_distinguished_from_deleted_ones(seed: int) -> None:
    generator = random.Random(seed)
    everything = random_ids(seed, 10_000)
    missing = set(generator.sample(everything[:6_000], 40))
    first = [number for number in everything[:6_000] if number not in missing]
    packed = packed_ids(first)
    ids = DeliveredIds(packed, first[-1])
    for number in everything[6_000:]:
        ids.add(number)
    deleted = set(generator.sample(first, 60))
    listed = [number for number in everything if number not in deleted]
    assert len(packed) == SKETCH_BYTES
    assert ids.missing(listed) == sorted(missing)


def test_after_a_resume_too_many_changes_are_not_guessed() -> None:
    everything = random_ids(7, 5_000)
    ids = DeliveredIds(packed_ids(everything), everything[-1])
    assert ids.missing(everything[600:]) is None


def test_an_id_delivered_out_of_order_after_a_resume_is_known_after_the_next_resume() -> None:
    everything = random_ids(3, 3_000)
    ids = DeliveredIds(packed_ids(everything[1:]), everything[-1])
    assert ids.missing(everything) == everything[:1]
    ids.add(everything[0])
    resumed = DeliveredIds(ids.packed(), everything[-1])
    assert resumed.missing(everything) == []
