"""Conversion of feed records to products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import msgspec

from connector_svc.domain.product import (
    Image,
    InventoryPolicy,
    Product,
    ProductOption,
    ProductStatus,
    SelectedOption,
    Variant,
)
from connector_svc.domain.records import Fault, InvalidRecord, RecordIssue
from connector_svc.platforms.feed.file_reader import Record
from connector_svc.platforms.feed.id_scan import read_ids
from connector_svc.platforms.feed.record_salvage import DECODE_ERRORS, raw_fields, salvage_product
from connector_svc.platforms.feed.wire import ImageLine, ProductLine, VariantLine

_POLICIES: Final = {
    "": InventoryPolicy.UNSPECIFIED,
    "deny": InventoryPolicy.DENY,
    "continue": InventoryPolicy.CONTINUE,
}
_STATUSES: Final = {status.value.lower(): status for status in ProductStatus}


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedRecord:
    """A product, a tombstone, or issues alone."""

    id: str = ""
    """Empty when the record has none."""
    product: Product | None = None
    deleted: bool = False
    issues: tuple[RecordIssue, ...] = ()


class RecordParser:
    """Converts the records of one feed."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(ProductLine, strict=False)

    def parse(self, record: Record) -> ParsedRecord:
        """Convert `record` to a product, a tombstone or issues. Never raises."""
        if not record.text:
            return _rejected(record, record.id, record.faults)
        try:
            line = self._decoder.decode(record.text)
        except DECODE_ERRORS:
            return _salvage(record)
        if line.deleted:
            return ParsedRecord(id=str(line.id), deleted=True)
        issues = tuple(_issue(record, fault, str(line.id)) for fault in record.faults)
        return ParsedRecord(id=str(line.id), product=_product(line, complete=record.is_complete), issues=issues)


def _salvage(record: Record) -> ParsedRecord:
    ids = read_ids(record)
    if ids.deleted:
        return ParsedRecord(id=ids.id, deleted=True)
    try:
        salvaged = salvage_product(raw_fields(record.text))
    except InvalidRecord as error:
        return _rejected(record, ids.id, (*record.faults, error.fault))
    product_id = str(salvaged.line.id)
    issues = [_issue(record, fault, product_id) for fault in (*record.faults, *salvaged.faults)]
    issues += [_issue(record, fault, product_id, variant_id) for variant_id, fault in salvaged.variant_faults]
    product = _product(salvaged.line, complete=record.is_complete and salvaged.is_complete)
    return ParsedRecord(id=product_id, product=product, issues=tuple(issues))


def _rejected(record: Record, product_id: str, faults: Sequence[Fault]) -> ParsedRecord:
    """Return issues alone; only the last one rejects the product, so that it is counted once."""
    *others, last = faults
    issues = [_issue(record, fault, product_id) for fault in others]
    return ParsedRecord(id=product_id, issues=(*issues, _issue(record, last, product_id, rejected=True)))


def _issue(
    record: Record, fault: Fault, product_id: str, variant_id: str = "", *, rejected: bool = False
) -> RecordIssue:
    with_line = replace(fault, message=f"Line {record.line}: {fault.message}")
    return with_line.to_issue(product_id, variant_id, rejected=rejected)


def _product(line: ProductLine, *, complete: bool) -> Product:
    active = line.status == "active"
    return Product(
        id=str(line.id),
        title=line.title,
        handle=line.handle,
        description_html=line.description_html,
        vendor=line.vendor,
        product_type=line.product_type,
        tags=tuple(line.tags),
        status=_STATUSES[line.status],
        url=line.url,
        options=_options(line.variants),
        images=tuple(map(_image, line.images)),
        created_at=_to_utc(line.created_at),
        updated_at=_to_utc(line.updated_at),
        variants=tuple(_variant(one, n, active=active) for n, one in enumerate(line.variants, 1)),
        variants_complete=complete,
    )


def _options(variants: Sequence[VariantLine]) -> tuple[ProductOption, ...]:
    """Return the options of `variants`, names and values in the order of their first appearance."""
    values: dict[str, dict[str, None]] = {}
    for variant in variants:
        for choice in variant.options:
            values.setdefault(choice.name, {})[choice.value] = None
    return tuple(ProductOption(name=name, values=tuple(found)) for name, found in values.items())


def _variant(line: VariantLine, position: int, *, active: bool) -> Variant:
    weight = Decimal(line.weight) if line.weight is not None and line.weight_unit else None
    return Variant(
        id=str(line.id),
        title=line.title or " / ".join(choice.value for choice in line.options),
        sku=line.sku,
        barcode=line.barcode,
        price=None if line.price is None else Decimal(line.price),
        compare_at_price=None if line.compare_at_price is None else Decimal(line.compare_at_price),
        stock_quantity=line.stock_quantity,
        inventory_policy=_POLICIES[line.inventory_policy],
        available=active and _default_availability(line) if line.available is None else line.available,
        options=tuple(SelectedOption(name=choice.name, value=choice.value) for choice in line.options),
        image=None if line.image is None else _image(line.image),
        weight=weight,
        weight_unit=line.weight_unit if weight is not None else "",
        position=position,
        created_at=_to_utc(line.created_at),
        updated_at=_to_utc(line.updated_at),
    )


def _default_availability(line: VariantLine) -> bool:
    in_stock = line.stock_quantity is None or line.stock_quantity > 0 or line.inventory_policy == "continue"
    return in_stock and line.price is not None


def _image(line: ImageLine) -> Image:
    return Image(url=line.url, id=line.id, alt_text=line.alt_text, width=line.width, height=line.height)


def _to_utc(moment: datetime | None) -> datetime | None:
    try:
        return None if moment is None else moment.astimezone(UTC)
    except OverflowError:
        # The last hours of the year 9999 in another time zone; many systems use that date for "never".
        return None
