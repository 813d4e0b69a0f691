"""Products that are requested by id: each is read whole, reported as deleted, or left undecided."""

from __future__ import annotations

from connector_svc.domain.errors import SourceFailure
from connector_svc.domain.fetch import Batch, End, Header
from tests.contract.platforms.harness import PlatformHarness
from tests.contract.platforms.passes import Pass, fetch


def read(found: Pass) -> set[str]:
    """Return the products that were delivered or rejected."""
    return {*found.ids, *(issue.product_id for issue in found.issues if issue.product_rejected)}


async def test_requested_products_are_as_in_a_full_pass_and_no_others_are_read(source: PlatformHarness) -> None:
    whole = await fetch(source)
    requested = whole.ids[3:40:4]
    found = await fetch(source, ids=requested)
    assert [type(event) for event in found.events] == [Header, *[Batch] * len(found.batches), End]
    assert sorted(found.ids) == sorted(requested)
    assert {i: found.by_id[i] for i in requested} == {i: whole.by_id[i] for i in requested}
    assert found.deleted == []


async def test_every_product_of_the_shop_can_be_requested_by_id(source: PlatformHarness) -> None:
    everything = sorted(source.expected().titles)
    found = [await fetch(source, ids=everything[n : n + 250]) for n in range(0, len(everything), 250)]
    assert set().union(*map(read, found)) == set(everything)
    assert [i for one in found for i in one.deleted] == []


async def test_no_batch_of_requested_products_is_larger_than_requested(source: PlatformHarness) -> None:
    requested = (await fetch(source)).ids[:20]
    found = await fetch(source, ids=requested, batch=7)
    assert sorted(found.ids) == sorted(requested)
    assert max(len(batch.products) for batch in found.batches) <= 7


async def test_a_product_that_the_shop_does_not_have_is_reported_as_deleted(source: PlatformHarness) -> None:
    first, second, *_ = (await fetch(source)).ids
    source.delete_product(first)
    never = (
        str(max(int(i) for i in source.expected().titles if i.isdigit()) + 1_000) if second.isdigit() else "never"
    )
    found = await fetch(source, ids=[first, second, never])
    assert found.ids == [second]
    assert sorted(found.deleted) == sorted([first, never])


async def test_an_id_that_no_product_can_have_is_reported_as_deleted(source: PlatformHarness) -> None:
    assert (await fetch(source, ids=["no such-id/\u00e9"])).deleted == ["no such-id/\u00e9"]


async def test_no_product_is_reported_as_deleted_by_a_shop_that_does_not_answer(source: PlatformHarness) -> None:
    requested = (await fetch(source)).ids[:3]
    source.answer(403, "{}")
    found = Pass()
    try:
        found = await fetch(source, ids=requested)
    except SourceFailure:
        pass
    finally:
        source.recover()
    assert found.deleted == []
