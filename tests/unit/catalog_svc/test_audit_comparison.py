"""Comparison of stored products with what the platform returns: what differs, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest

from catalog_svc.domain.audit import (
    MAX_REPORTED_DIFFERENCES,
    AuditResult,
    Difference,
    DifferenceCause,
    DifferenceKind,
    FoundProduct,
    StoredItem,
    StoredProduct,
    StoredRows,
)
from catalog_svc.domain.audit_comparison import absent, compare, count_differences
from catalog_svc.domain.records import ItemRecord, ProductRecord

RELIABLE = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
EARLIER = RELIABLE - timedelta(days=3)
STORED_AT = RELIABLE - timedelta(days=2)


def item(item_id: str = "1-1", *, updated: datetime | None = EARLIER, price: str | None = "10.00") -> ItemRecord:
    return ItemRecord(
        item_id, "1", 1, "M", "SKU", "", "EUR", price, None, 5, True, False, '[["Size","M"]]', "", "", "0.50",
        "kg", EARLIER, updated,
    )  # fmt: skip


def record(
    *,
    content_hash: bytes = b"same",
    title: str = "Shirt",
    images: str = '[{"id":"1","url":"u"}]',
    updated: datetime | None = EARLIER,
) -> ProductRecord:
    return ProductRecord(
        "1", content_hash, title, "shirt", "<p>", "Acme", "", ["a", "b"], "ACTIVE", "", '[["Size",["M"]]]', images,
        EARLIER, updated, 1,
    )  # fmt: skip


def stored(
    product: ProductRecord | None = None,
    items: Sequence[ItemRecord] = (item(),),
    *,
    deleted: bool = False,
    deleted_by_writer: bool = True,
    deleted_items: Sequence[ItemRecord] = (),
) -> StoredRows:
    rows = {
        one.item_id: StoredItem(record=one, deleted=gone, updated_at=STORED_AT, feed_position=3)
        for gone, some in ((False, items), (True, deleted_items))
        for one in some
    }
    row = StoredProduct(
        record=product or record(),
        deleted=deleted,
        deleted_by_writer=deleted_by_writer,
        updated_at=STORED_AT,
        feed_position=3,
    )
    return StoredRows(product=row, items=rows)


def found(
    product: ProductRecord | None = None, items: Sequence[ItemRecord] = (item(),), *, complete: bool = True
) -> FoundProduct:
    return FoundProduct(product=product or record(), items=items, variants_complete=complete)


def cause(one: FoundProduct, rows: StoredRows, *, reliable: datetime | None = RELIABLE) -> DifferenceCause:
    """Return the cause of all differences of the product; there must be some."""
    differences = compare(one, rows, reliable_until=reliable)
    (only,) = {difference.cause for difference in differences}
    return only


def test_equal_rows_have_no_difference() -> None:
    assert compare(found(), stored(), reliable_until=RELIABLE) == ()


@pytest.mark.parametrize(
    "images", ['[{"id": "1", "url": "u"}]', '[{"url": "u", "id": "1"}]', '[ {"url":"u" ,"id":"1"} ]']
)
def test_neither_spaces_nor_the_order_of_keys_in_json_is_a_difference(images: str) -> None:
    assert compare(found(), stored(record(images=images)), reliable_until=RELIABLE) == ()


def test_the_order_of_a_json_list_is_a_difference() -> None:
    one, two = '[{"id":"1"},{"id":"2"}]', '[{"id":"2"},{"id":"1"}]'
    (difference,) = compare(found(record(images=one)), stored(record(images=two)), reliable_until=RELIABLE)
    assert difference.field == "images"


def test_the_zone_of_a_time_is_no_difference() -> None:
    elsewhere = EARLIER.astimezone(timezone(timedelta(hours=5)))
    assert compare(found(), stored(record(updated=elsewhere)), reliable_until=RELIABLE) == ()


@pytest.mark.parametrize(("one", "other"), [("10.00", "10.0"), ("10.00", None), (None, "0")])
def test_numbers_are_compared_as_they_are_written(one: str | None, other: str | None) -> None:
    (difference,) = compare(
        found(items=[item(price=one)]), stored(items=[item(price=other)]), reliable_until=RELIABLE
    )
    assert (difference.item_id, difference.field) == ("1-1", "price")
    assert (difference.found, difference.stored) == (one or "", other or "")


def test_a_content_hash_alone_is_no_difference() -> None:
    """It covers more than what is stored, and a stock level that was stored alone removes it."""
    assert compare(found(), stored(record(content_hash=b"")), reliable_until=RELIABLE) == ()


def test_what_differs_while_the_platform_returns_the_same_is_drift() -> None:
    assert cause(found(), stored(record(title="Other"))) is DifferenceCause.DRIFT
    # Whatever the dates say: that of the product may be what was falsified, or absent on this platform.
    assert cause(found(record(updated=None)), stored(record(updated=EARLIER))) is DifferenceCause.DRIFT


@pytest.mark.parametrize(
    ("changed_at", "expected"),
    [
        (RELIABLE - timedelta(seconds=1), DifferenceCause.DRIFT),
        (RELIABLE, DifferenceCause.BEHIND),
        (RELIABLE + timedelta(hours=1), DifferenceCause.BEHIND),
        (EARLIER, DifferenceCause.UNDATED),
        (EARLIER - timedelta(days=1), DifferenceCause.UNDATED),
    ],
)
def test_the_date_of_a_change_decides_whether_the_catalog_should_have_known(
    changed_at: datetime, expected: DifferenceCause
) -> None:
    new = found(
        record(content_hash=b"new", title="New", updated=changed_at), [item(updated=min(changed_at, EARLIER))]
    )
    assert cause(new, stored()) is expected


def test_a_variant_may_be_what_dates_the_change() -> None:
    later = RELIABLE + timedelta(minutes=1)
    new = found(record(content_hash=b"new"), [item(updated=later, price="11.00")])
    assert cause(new, stored()) is DifferenceCause.BEHIND


def test_a_platform_without_dates_has_undated_changes() -> None:
    new = found(record(content_hash=b"new", title="New", updated=None), [item(updated=None)])
    assert cause(new, stored()) is DifferenceCause.UNDATED


def test_a_catalog_that_was_never_complete_is_behind() -> None:
    new = found(record(content_hash=b"new", title="New"))
    assert cause(new, stored(), reliable=None) is DifferenceCause.BEHIND


def test_a_product_that_is_not_stored_is_drift_if_the_platform_changed_it_before() -> None:
    nothing = StoredRows(product=None, items={})
    (difference,) = compare(found(), nothing, reliable_until=RELIABLE)
    assert (difference.kind, difference.cause) == (DifferenceKind.MISSING, DifferenceCause.DRIFT)
    assert cause(found(record(updated=RELIABLE), [item()]), nothing) is DifferenceCause.BEHIND


def test_a_tombstone_that_no_write_of_the_catalog_left_is_drift() -> None:
    rows = stored(deleted=True, deleted_by_writer=False)
    (difference,) = compare(found(), rows, reliable_until=RELIABLE)
    assert (difference.kind, difference.cause) == (DifferenceKind.MISSING, DifferenceCause.DRIFT)


def test_a_product_that_exists_again_without_a_new_date_is_undated() -> None:
    """The hash of a tombstone says what the product was before its deletion, and nothing about it."""
    assert cause(found(), stored(deleted=True)) is DifferenceCause.UNDATED


def test_items_that_are_missing_deleted_or_extra_differ() -> None:
    both = [item("1-1"), item("1-2")]
    (missing,) = compare(found(items=both), stored(), reliable_until=RELIABLE)
    assert (missing.item_id, missing.kind) == ("1-2", DifferenceKind.MISSING)
    rows = stored(deleted_items=[item("1-2")])
    (deleted,) = compare(found(items=both), rows, reliable_until=RELIABLE)
    assert (deleted.item_id, deleted.kind, deleted.stored_at) == ("1-2", DifferenceKind.MISSING, STORED_AT)
    (extra,) = compare(found(), stored(items=both), reliable_until=RELIABLE)
    assert (extra.item_id, extra.kind) == ("1-2", DifferenceKind.EXTRA)


def test_an_item_is_not_extra_if_the_variants_came_incomplete() -> None:
    rows = stored(items=[item("1-1"), item("1-2")])
    assert compare(found(complete=False), rows, reliable_until=RELIABLE) == ()


def test_a_deleted_item_that_the_platform_does_not_have_is_no_difference() -> None:
    assert compare(found(), stored(deleted_items=[item("1-2")]), reliable_until=RELIABLE) == ()


def test_an_item_that_is_stored_under_another_product_differs_in_its_product() -> None:
    elsewhere = item()._replace(product_id="2")
    (difference,) = compare(found(), stored(items=[elsewhere]), reliable_until=RELIABLE)
    assert (difference.field, difference.stored, difference.found) == ("product_id", "2", "1")


def test_a_product_that_the_platform_does_not_have_is_extra_and_undated_unless_it_is_deleted() -> None:
    (difference,) = absent("1", stored())
    assert (difference.kind, difference.cause) == (DifferenceKind.EXTRA, DifferenceCause.UNDATED)
    assert absent("1", stored(deleted=True)) == ()
    assert absent("1", StoredRows(product=None, items={})) == ()


def test_values_are_truncated() -> None:
    (difference,) = compare(found(), stored(record(title="x" * 1_000)), reliable_until=RELIABLE)
    assert len(difference.stored) == 201


def test_a_product_counts_once_by_its_worst_cause_and_differences_are_limited() -> None:
    def one(item_id: str, which: DifferenceCause) -> Difference:
        return Difference(product_id="1", item_id=item_id, kind=DifferenceKind.VALUE, cause=which)

    causes = (DifferenceCause.BEHIND, DifferenceCause.UNDATED, DifferenceCause.DRIFT)
    result = AuditResult()
    for last in range(1, 4):
        result += count_differences([one("", causes[0]), *(one("i", each) for each in causes[:last])])
    assert (result.behind, result.undated, result.drifted, result.items_different) == (1, 1, 1, 3)
    many = count_differences([one(str(n), causes[2]) for n in range(500)])
    assert (many.drifted, many.items_different) == (1, 500)
    assert len((many + many).differences) == MAX_REPORTED_DIFFERENCES
