"""The id of a sync leads to its shop, and the ids of a shop's syncs are in the order of their creation."""

from __future__ import annotations

import pytest

from catalog_svc.domain.ids import new_shop_id, shop_id_of, sync_id_of

LAST_NUMBER = (1 << 40) - 1


@pytest.mark.parametrize("number", [1, 2, 1_000_000, LAST_NUMBER])
def test_the_id_of_a_sync_names_its_shop(number: int) -> None:
    shop_id = new_shop_id()
    sync_id = sync_id_of(shop_id, number)
    assert sync_id != shop_id
    assert shop_id_of(sync_id) == shop_id


@pytest.mark.parametrize("number", [-1, 0, LAST_NUMBER + 1])
def test_a_number_that_would_change_the_id_of_the_shop_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="is not the number of a sync"):
        sync_id_of(new_shop_id(), number)


def test_the_ids_of_a_shops_syncs_are_in_the_order_of_their_numbers() -> None:
    """PostgreSQL compares UUIDs byte by byte, as bytes are compared here."""
    shop_id = new_shop_id()
    ids = [sync_id_of(shop_id, number).bytes for number in (1, 2, 255, 256, 65_536, LAST_NUMBER)]
    assert ids == sorted(ids)


def test_ids_are_uuids_of_version_8_and_differ() -> None:
    ids = {new_shop_id() for _ in range(1_000)}
    assert len(ids) == 1_000
    for one in (*ids, *(sync_id_of(shop_id, LAST_NUMBER) for shop_id in ids)):
        assert (one.version, one.variant) == (8, "specified in RFC 4122")


def test_the_id_of_a_shop_is_that_of_no_sync() -> None:
    shop_id = new_shop_id()
    assert shop_id_of(shop_id) == shop_id
