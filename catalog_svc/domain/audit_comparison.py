"""Comparison of stored products with what the platform returns, and the cause of what differs.

A difference alone does not say that the catalog is wrong: a product may have changed since it was read. The cause
is decided per product, by `cause_of`. See docs/decisions/0053.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import NoneType
from typing import Final, NamedTuple, get_args, get_type_hints

from catalog_svc.domain.audit import (
    MAX_REPORTED_DIFFERENCES,
    AuditResult,
    Difference,
    DifferenceCause,
    DifferenceKind,
    FoundProduct,
    StoredItem,
    StoredRows,
    StoredState,
    latest,
)
from catalog_svc.domain.records import ItemRecord, JsonText, ProductRecord, RecordRejected
from catalog_svc.domain.source import SourceBatch

_MAX_VALUE_CHARACTERS: Final = 200
_MIN_OVERLAP: Final = timedelta(seconds=1)
"""Platforms date by the second: a change of the watermark's own second may have come after the read."""
_NOT_COMPARED: Final = frozenset({"product_id", "content_hash"})
"""Fields of a product: its key, and the hash, which is compared as a whole."""
_NOT_COMPARED_ITEM: Final = frozenset({"item_id"})


def _json_fields(record: type[NamedTuple]) -> frozenset[str]:
    hints = get_type_hints(record, include_extras=True)
    return frozenset(
        name
        for name, hint in hints.items()
        if JsonText in (hint, *(part for part in get_args(hint) if part is not NoneType))
    )


_JSON_FIELDS: Final = _json_fields(ProductRecord) | _json_fields(ItemRecord)


@dataclass(frozen=True, slots=True)
class ReadProducts:
    """What the platform returned for the ids of products."""

    found: Mapping[str, FoundProduct]
    rejected: frozenset[str]
    """Products that exist, and cannot be stored as they came."""
    deleted: frozenset[str]
    """Products that do not exist."""

    @classmethod
    def of(cls, batch: SourceBatch) -> ReadProducts:
        """Unpack a batch."""
        found: dict[str, FoundProduct] = {}
        rejected = {issue.product_id for issue in batch.issues if issue.product_rejected and issue.product_id}
        for product in batch.products:
            try:
                record, items = product.unpack()
            except RecordRejected:
                rejected.add(product.product_id)
                continue
            found[product.product_id] = FoundProduct(
                product=record, items=items, variants_complete=product.variants_complete
            )
        rejected -= found.keys()
        deleted = frozenset(batch.deleted_product_ids) - found.keys() - rejected
        return cls(found, frozenset(rejected), deleted)

    @property
    def product_ids(self) -> frozenset[str]:
        """The ids of all of them."""
        return frozenset(self.found) | self.rejected | self.deleted

    @property
    def item_ids(self) -> list[str]:
        """The ids of the items that exist."""
        return [item.item_id for product in self.found.values() for item in product.items]

    def item_count(self, product_id: str) -> int:
        """Return how many items of the product exist."""
        found = self.found.get(product_id)
        return len(found.items) if found else 0

    def differences(
        self, state: StoredState, product_ids: Collection[str], *, overlap: timedelta
    ) -> dict[str, tuple[Difference, ...]]:
        """Return the differences of those of these products that differ; rejected ones do not.

        Args:
            state: What is stored of them.
            product_ids: The products to compare.
            overlap: Changes that were dated within this time before the watermark may be unknown to the catalog,
                since platforms list some changes late.
        """
        until = state.watermark - max(overlap, _MIN_OVERLAP) if state.watermark else None
        differences: dict[str, tuple[Difference, ...]] = {}
        for product_id in product_ids:
            if product_id in self.found:
                found = self.found[product_id]
                of_product = compare(found, state.of(found), reliable_until=until)
            elif product_id in self.deleted:
                of_product = absent(product_id, state.rows[product_id])
            else:
                continue
            if of_product:
                differences[product_id] = of_product
        return differences

    def count(
        self, product_ids: Collection[str], differences: Mapping[str, tuple[Difference, ...]]
    ) -> AuditResult:
        """Return the result of these products, which were compared, and had these differences."""
        result = AuditResult(
            products_checked=len(set(product_ids) - self.rejected),
            items_checked=sum(map(self.item_count, product_ids)),
            rejected=len(self.rejected & set(product_ids)),
        )
        for product_id in sorted(product_ids):
            if product_id in differences:
                result += count_differences(differences[product_id])
        return result


def compare(found: FoundProduct, stored: StoredRows, *, reliable_until: datetime | None) -> tuple[Difference, ...]:
    """Return all differences of a product that the platform has.

    Args:
        found: What the platform returned.
        stored: What is stored.
        reliable_until: The catalog has read every change that the platform dated before this time; None: it does
            not claim to have read any.
    """
    cause = cause_of(found, stored, reliable_until=reliable_until)
    product_id = found.product.product_id
    if stored.product is None or stored.product.deleted:
        return (
            Difference(
                product_id=product_id,
                kind=DifferenceKind.MISSING,
                cause=cause,
                stored_at=stored.product.updated_at if stored.product else None,
                source_updated_at=found.product.source_updated_at,
            ),
        )
    differences = [
        Difference(
            product_id=product_id,
            kind=DifferenceKind.VALUE,
            cause=cause,
            field=name,
            stored=stored_text,
            found=found_text,
            stored_at=stored.product.updated_at,
            source_updated_at=found.product.source_updated_at,
        )
        for name, stored_text, found_text in _values(stored.product.record, found.product, _NOT_COMPARED)
    ]
    for item in {item.item_id: item for item in found.items}.values():
        differences += _compare_item(product_id, item, stored.items.get(item.item_id), cause)
    if found.variants_complete:
        differences += _extra_items(found, stored, cause)
    return tuple(differences)


def absent(product_id: str, stored: StoredRows) -> tuple[Difference, ...]:
    """Return the difference of a product that the platform does not have. No platform dates its deletions."""
    if stored.product is None or stored.product.deleted:
        return ()
    difference = Difference(
        product_id=product_id,
        kind=DifferenceKind.EXTRA,
        cause=DifferenceCause.UNDATED,
        stored_at=stored.product.updated_at,
    )
    return (difference,)


def cause_of(found: FoundProduct, stored: StoredRows, *, reliable_until: datetime | None) -> DifferenceCause:
    """Return why a product differs, if it does.

    The stored hash is that of the product as it was last read as a whole. If the platform still returns the same,
    then what differs was not changed by the platform. Otherwise dates decide.
    """
    product = stored.product
    if product is not None and product.deleted and not product.deleted_by_writer:
        return DifferenceCause.DRIFT
    if product is not None and not product.deleted and product.record.content_hash == found.product.content_hash:
        return DifferenceCause.DRIFT
    changed_at = found.changed_at
    if changed_at is None:
        return DifferenceCause.UNDATED
    if reliable_until is None or changed_at >= reliable_until:
        return DifferenceCause.BEHIND
    if product is None:
        return DifferenceCause.DRIFT
    items = (item.record.source_updated_at for item in stored.items.values())
    known_at = latest([product.record.source_updated_at, *items])
    # A date that is stored already says nothing about what differs.
    return DifferenceCause.DRIFT if known_at is None or changed_at > known_at else DifferenceCause.UNDATED


def count_differences(differences: Collection[Difference]) -> AuditResult:
    """Return the counts of the differences of one product, and the differences."""
    causes = {difference.cause for difference in differences}
    drifted = DifferenceCause.DRIFT in causes
    undated = not drifted and DifferenceCause.UNDATED in causes
    return AuditResult(
        drifted=int(drifted),
        undated=int(undated),
        behind=int(bool(causes) and not drifted and not undated),
        items_different=len({difference.item_id for difference in differences} - {""}),
        differences=tuple(differences)[:MAX_REPORTED_DIFFERENCES],
    )


def _compare_item(
    product_id: str, found: ItemRecord, stored: StoredItem | None, cause: DifferenceCause
) -> list[Difference]:
    if stored is None or stored.deleted:
        return [
            Difference(
                product_id=product_id,
                item_id=found.item_id,
                kind=DifferenceKind.MISSING,
                cause=cause,
                stored_at=stored.updated_at if stored else None,
                source_updated_at=found.source_updated_at,
            )
        ]
    return [
        Difference(
            product_id=product_id,
            item_id=found.item_id,
            kind=DifferenceKind.VALUE,
            cause=cause,
            field=name,
            stored=stored_text,
            found=found_text,
            stored_at=stored.updated_at,
            source_updated_at=found.source_updated_at,
        )
        for name, stored_text, found_text in _values(stored.record, found, _NOT_COMPARED_ITEM)
    ]


def _extra_items(found: FoundProduct, stored: StoredRows, cause: DifferenceCause) -> list[Difference]:
    product_id, existing = found.product.product_id, {item.item_id for item in found.items}
    return [
        Difference(
            product_id=product_id,
            item_id=item_id,
            kind=DifferenceKind.EXTRA,
            cause=cause,
            stored_at=item.updated_at,
            source_updated_at=found.product.source_updated_at,
        )
        for item_id, item in sorted(stored.items.items())
        if item_id not in existing and not item.deleted and item.record.product_id == product_id
    ]


def _values(
    stored: ProductRecord | ItemRecord, found: ProductRecord | ItemRecord, left_out: frozenset[str]
) -> list[tuple[str, str, str]]:
    """Return the names and both texts of the fields that differ.

    Numbers are texts in both: 7.3 and 7.30 are equal numbers, and what the platform wrote is what we keep.
    """
    if stored == found:
        return []
    return [
        (name, _text(before), _text(after))
        for name, before, after in zip(found._fields, stored, found, strict=True)
        if name not in left_out and before != after and not (name in _JSON_FIELDS and _same_json(before, after))
    ]


def _same_json(stored: object, found: object) -> bool:
    """Return whether two JSON texts have the same value: jsonb keeps neither spaces nor the order of keys."""
    if not isinstance(stored, str) or not isinstance(found, str):
        return False
    same: bool = json.loads(stored) == json.loads(found)
    return same


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        text = value.astimezone(UTC).isoformat()
    elif isinstance(value, bool | list):
        text = json.dumps(value, ensure_ascii=False)
    else:
        text = str(value)
    return text if len(text) <= _MAX_VALUE_CHARACTERS else f"{text[:_MAX_VALUE_CHARACTERS]}…"
