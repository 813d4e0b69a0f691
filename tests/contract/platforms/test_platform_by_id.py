"""Products that are asked for by id: each is read whole, reported as deleted, or not decided."""

from __future__ import annotations

from connector_svc.domain.errors import SourceFailure
from connector_svc.domain.fetch import Batch, End, Header
from tests.contract.platforms.harness import PlatformHarness
from tests.contract.platforms.passes import Pass, fetch


def read(found: Pass) -> set[str]:
    """The products that came, or that were rejected by name."""
    return {*found.ids, *(issue.product_id for issue in found.issues if issue.product_rejected)}


async def test_requested_products_are_as_in_a_full_pass_and_no_others_are_read(source: PlatformHarness) -> None:
    whole = await fetch(source)
    wanted = whole.ids[3:40:4]
    found = await fetch(source, ids=wanted)
    assert [type(event) for event in found.events] == [Header, *[Batch] * len(found.batches), End]
    assert sorted(found.ids) == sorted(wanted)
    assert {i: found.by_id[i] for i in wanted} == {i: whole.by_id[i] for i in wanted}
    assert found.deleted == []


async def test_every_product_of_the_shop_can_be_requested_by_id(source: PlatformHarness) -> None:
    everything = sorted(source.truth().titles)
    found = [await fetch(source, ids=everything[n : n + 250]) for n in range(0, len(everything), 250)]
    assert set().union(*map(read, found)) == set(everything)
    assert [i for one in found for i in one.deleted] == []


async def test_no_batch_of_requested_products_is_larger_than_requested(source: PlatformHarness) -> None:
    wanted = (await fetch(source)).ids[:20]
    found = await fetch(source, ids=wanted, batch=7)
    assert sorted(found.ids) == sorted(wanted)
    assert max(len(batch.products) for batch in found.batches) <= 7


async def test_a_product_that_the_shop_does_not_have_is_reported_as_deleted(source: PlatformHarness) -> None:
    first, second, *_ = (await fetch(source)).ids
    source.delete_product(first)
    never = str(max(int(i) for i in source.truth().titles if i.isdigit()) + 1_000) if second.isdigit() else "never"
    found = await fetch(source, ids=[first, second, never])
    assert found.ids == [second]
    assert sorted(found.deleted) == sorted([first, never])


async def test_an_id_that_no_product_can_have_is_reported_as_deleted(source: PlatformHarness) -> None:
    assert (await fetch(source, ids=["no such-id/\u00e9"])).deleted == ["no such-id/\u00e9"]


async def test_no_product_is_reported_as_deleted_by_a_shop_that_does_not_answer(source: PlatformHarness) -> None:
    wanted = (await fetch(source)).ids[:3]
    source.answer(403, "{}")
    found = Pass()
    try:
        found = await fetch(source, ids=wanted)
    except SourceFailure:
        pass
    finally:
        source.behave()
    assert found.deleted == []
