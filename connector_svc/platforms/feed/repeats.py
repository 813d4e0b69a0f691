"""Of an id that comes twice the first stays, and the others become issues."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgspec

from connector_svc.domain.product import Product, Variant
from connector_svc.domain.records import IssueReason, RecordIssue
from connector_svc.platforms.feed.glance import Glance
from connector_svc.platforms.feed.parse import Parsed
from connector_svc.platforms.feed.record import Record
from connector_svc.platforms.feed.scan import Scan


@dataclass(slots=True)
class Repeats:
    """Which of the repeated ids of a file were met; few, since a scan with many is refused."""

    scan: Scan
    _met: set[str] = field(default_factory=set)
    _owners: dict[str, str] = field(default_factory=dict)
    """Product ids by variant id."""

    @property
    def any(self) -> bool:
        return bool(self.scan.repeated or self.scan.repeated_variants)

    def skip(self, seen: Glance) -> None:
        """Notes what was delivered before a resume."""
        if self._is_first(seen.id):
            for identifier in seen.variant_ids:
                self._owns(seen.id, identifier)

    def without_repeats(self, record: Record, parsed: Parsed) -> Parsed:
        """`parsed` without what came before."""
        if not self._is_first(parsed.id):
            return Parsed(id=parsed.id, issues=(_repeated(record, parsed.id),))
        if parsed.product is None or not self.any:
            return parsed
        return self._with_own_variants(record, parsed, parsed.product)

    def _with_own_variants(self, record: Record, parsed: Parsed, product: Product) -> Parsed:
        met: set[str] = set()
        kept: list[Variant] = []
        lost: list[Variant] = []
        for variant in product.variants:
            own = variant.id not in met and self._owns(product.id, variant.id)
            (kept if own else lost).append(variant)
            met.add(variant.id)
        issues = tuple(_repeated(record, product.id, variant.id) for variant in lost)
        # Rows of it may stand elsewhere in the file: what is absent here is not gone.
        whole = product.variants_complete and not lost and product.id not in self.scan.repeated
        product = msgspec.structs.replace(product, variants=tuple(kept), variants_complete=whole)
        return replace(parsed, product=product, issues=(*parsed.issues, *issues))

    def _is_first(self, product_id: str) -> bool:
        if product_id not in self.scan.repeated:
            return True
        first = product_id not in self._met
        self._met.add(product_id)
        return first

    def _owns(self, product_id: str, variant_id: str) -> bool:
        if variant_id not in self.scan.repeated_variants:
            return True
        return self._owners.setdefault(variant_id, product_id) == product_id


def _repeated(record: Record, product_id: str, variant_id: str = "") -> RecordIssue:
    what = "variant" if variant_id else "product"
    return RecordIssue(
        reason=IssueReason.DUPLICATE_ID,
        message=f"Line {record.line}: The id of this {what} came before; the first one stays.",
        product_id=product_id,
        variant_id=variant_id,
        field="id",
        sample=variant_id or product_id,
    )
