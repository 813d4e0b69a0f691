"""Duplicate ids: the first record of an id is kept, the others become issues."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgspec

from connector_svc.domain.product import Product, Variant
from connector_svc.domain.records import IssueReason, RecordIssue
from connector_svc.platforms.feed.file_reader import Record
from connector_svc.platforms.feed.id_scan import FileScan, RecordIds
from connector_svc.platforms.feed.parse import ParsedRecord


@dataclass(slots=True)
class DuplicateFilter:
    """Drops duplicates. Remembers only ids that the scan found twice: few, since a scan with many is refused."""

    scan: FileScan
    _seen: set[str] = field(default_factory=set)
    _owners: dict[str, str] = field(default_factory=dict)
    """Product ids by variant id."""

    @property
    def has_duplicates(self) -> bool:
        return bool(self.scan.duplicate_ids or self.scan.duplicate_variant_ids)

    def add_skipped(self, ids: RecordIds) -> None:
        """Remember the ids of a record that is not parsed, such as one delivered before a resume."""
        if self._is_first(ids.id):
            for variant_id in ids.variant_ids:
                self._is_owner(ids.id, variant_id)

    def filter(self, record: Record, parsed: ParsedRecord) -> ParsedRecord:
        """Return `parsed` without its product or variants whose ids occurred before, with issues for those."""
        if not self._is_first(parsed.id):
            return ParsedRecord(id=parsed.id, issues=(_duplicate_issue(record, parsed.id),))
        if parsed.product is None or not self.has_duplicates:
            return parsed
        return self._filter_variants(record, parsed, parsed.product)

    def _filter_variants(self, record: Record, parsed: ParsedRecord, product: Product) -> ParsedRecord:
        seen: set[str] = set()
        kept: list[Variant] = []
        dropped: list[Variant] = []
        for variant in product.variants:
            is_own = variant.id not in seen and self._is_owner(product.id, variant.id)
            (kept if is_own else dropped).append(variant)
            seen.add(variant.id)
        issues = tuple(_duplicate_issue(record, product.id, variant.id) for variant in dropped)
        # Other rows of the product may be elsewhere in the file: a variant that is absent here is not deleted.
        complete = product.variants_complete and not dropped and product.id not in self.scan.duplicate_ids
        product = msgspec.structs.replace(product, variants=tuple(kept), variants_complete=complete)
        return replace(parsed, product=product, issues=(*parsed.issues, *issues))

    def _is_first(self, product_id: str) -> bool:
        if product_id not in self.scan.duplicate_ids:
            return True
        is_first = product_id not in self._seen
        self._seen.add(product_id)
        return is_first

    def _is_owner(self, product_id: str, variant_id: str) -> bool:
        """Return whether the variant belongs to this product, the first one that named it."""
        if variant_id not in self.scan.duplicate_variant_ids:
            return True
        return self._owners.setdefault(variant_id, product_id) == product_id


def _duplicate_issue(record: Record, product_id: str, variant_id: str = "") -> RecordIssue:
    kind = "variant" if variant_id else "product"
    return RecordIssue(
        reason=IssueReason.DUPLICATE_ID,
        message=f"Line {record.line}: The id of this {kind} occurred before; the first one is kept.",
        product_id=product_id,
        variant_id=variant_id,
        field="id",
        sample=variant_id or product_id,
    )
