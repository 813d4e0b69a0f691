"""Makes products of records."""

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
from connector_svc.platforms.feed.glance import glance
from connector_svc.platforms.feed.record import Record
from connector_svc.platforms.feed.repair import FAULTS, fields_of, repaired
from connector_svc.platforms.feed.wire import ImageLine, ProductLine, VariantLine

_POLICIES: Final = {
    "": InventoryPolicy.UNSPECIFIED,
    "deny": InventoryPolicy.DENY,
    "continue": InventoryPolicy.CONTINUE,
}
_STATUSES: Final = {status.value.lower(): status for status in ProductStatus}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """What a record has become: a product, a tombstone, or issues alone."""

    id: str = ""
    """Empty when the record has none."""
    product: Product | None = None
    gone: bool = False
    issues: tuple[RecordIssue, ...] = ()


class Parser:
    """Parses the records of one feed."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(ProductLine, strict=False)

    def parse(self, record: Record) -> Parsed:
        """The product of `record`. Never raises."""
        if not record.text:
            return _aside(record, record.id, record.faults)
        try:
            line = self._decoder.decode(record.text)
        except FAULTS:
            return _saved(record)
        if line.deleted:
            return Parsed(id=str(line.id), gone=True)
        issues = tuple(_issue(record, fault, str(line.id)) for fault in record.faults)
        return Parsed(id=str(line.id), product=_product(line, whole=record.whole), issues=issues)


def _saved(record: Record) -> Parsed:
    seen = glance(record)
    if seen.gone:
        return Parsed(id=seen.id, gone=True)
    try:
        found = repaired(fields_of(record.text))
    except InvalidRecord as unfit:
        return _aside(record, seen.id, (*record.faults, unfit.fault))
    identifier = str(found.line.id)
    issues = [_issue(record, fault, identifier) for fault in (*record.faults, *found.faults)]
    issues += [_issue(record, fault, identifier, variant_id) for variant_id, fault in found.variant_faults]
    product = _product(found.line, whole=record.whole and found.whole)
    return Parsed(id=identifier, product=product, issues=tuple(issues))


def _aside(record: Record, identifier: str, faults: Sequence[Fault]) -> Parsed:
    """Only the last of the issues counts the product."""
    *others, last = faults
    issues = [_issue(record, fault, identifier) for fault in others]
    return Parsed(id=identifier, issues=(*issues, _issue(record, last, identifier, rejected=True)))


def _issue(
    record: Record, fault: Fault, product_id: str, variant_id: str = "", *, rejected: bool = False
) -> RecordIssue:
    told = replace(fault, message=f"Line {record.line}: {fault.message}")
    return told.to_issue(product_id, variant_id, rejected=rejected)


def _product(line: ProductLine, *, whole: bool) -> Product:
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
        created_at=_utc(line.created_at),
        updated_at=_utc(line.updated_at),
        variants=tuple(_variant(one, n, active=active) for n, one in enumerate(line.variants, 1)),
        variants_complete=whole,
    )


def _options(variants: Sequence[VariantLine]) -> tuple[ProductOption, ...]:
    """What the variants differ in, in the order in which it comes up."""
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
        available=active and _available(line) if line.available is None else line.available,
        options=tuple(SelectedOption(name=choice.name, value=choice.value) for choice in line.options),
        image=None if line.image is None else _image(line.image),
        weight=weight,
        weight_unit=line.weight_unit if weight is not None else "",
        position=position,
        created_at=_utc(line.created_at),
        updated_at=_utc(line.updated_at),
    )


def _available(line: VariantLine) -> bool:
    stocked = line.stock_quantity is None or line.stock_quantity > 0 or line.inventory_policy == "continue"
    return stocked and line.price is not None


def _image(line: ImageLine) -> Image:
    return Image(url=line.url, id=line.id, alt_text=line.alt_text, width=line.width, height=line.height)


def _utc(moment: datetime | None) -> datetime | None:
    try:
        return None if moment is None else moment.astimezone(UTC)
    except OverflowError:
        # The last hours of the year 9999, somewhere else: "never" in many systems.
        return None
