"""The generations and batches of the catalog that the write benchmark stores."""

from __future__ import annotations

import pytest

from bench.write.catalog import FullProduct, batches, first_products, generate, item_count, revise


@pytest.fixture(scope="module")
def products() -> list[FullProduct]:
    return generate(2_000)


def test_ids_are_unique_and_hashes_follow_the_content(products: list[FullProduct]) -> None:
    ids = [item.item_id for product in products for item in product.items]

    assert len(set(ids)) == len(ids) == item_count(products)
    assert len({product.record.content_hash for product in products}) == len(products)
    assert generate(2_000) == products


def test_batches_are_whole_products_up_to_the_size(products: list[FullProduct]) -> None:
    made = list(batches(products, 300))

    assert [product for batch in made for product in batch] == products
    assert all(300 <= item_count(batch) < 312 for batch in made[:-1])


def test_first_products_end_once_they_have_enough_items(products: list[FullProduct]) -> None:
    taken = first_products(products, 500)

    assert taken == products[: len(taken)]
    assert item_count(taken[:-1]) < 500 <= item_count(taken)


def test_a_revised_product_has_another_hash_and_other_items(products: list[FullProduct]) -> None:
    later = revise(products, {3, 50})

    changed = [number for number, (old, new) in enumerate(zip(products, later, strict=True)) if old != new]
    assert changed == [3, 50]
    for number in changed:
        assert later[number].record.content_hash != products[number].record.content_hash
        assert not set(later[number].items) & set(products[number].items)
