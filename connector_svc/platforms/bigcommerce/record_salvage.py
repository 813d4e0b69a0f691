"""Decoding of record lists with salvage: one malformed record or field does not affect the others.

A list of well-formed records is decoded in one step. Otherwise each record is decoded field by field: malformed
DROPPABLE_FIELDS are left out with a fault, any other malformed or missing field rejects its record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

import msgspec

from connector_svc.domain.product import InventoryPolicy
from connector_svc.domain.records import MALFORMED_ERRORS, Fault, InvalidRecord, mark_lone_surrogates
from connector_svc.platforms.bigcommerce.error_mapping import invalid_field, missing_field, not_a_record
from connector_svc.platforms.bigcommerce.wire import (
    DROPPABLE_FIELDS,
    ImageRow,
    ProductList,
    ProductRow,
    RawList,
    VariantRow,
)

RowT = TypeVar("RowT", ProductRow, VariantRow)


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectedRecord:
    """A product or variant that cannot be stored."""

    id: int | None
    """None: it has none."""
    fault: Fault
    modified_at: datetime | None = None
    """UTC; None: unknown."""
    is_unlisted: bool = False
    """Whether the store counts the product without listing it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemStock:
    """Stock of one item, a variant or a whole product."""

    quantity: int | None
    """None: not tracked, or unknown."""
    sellable: bool
    """Whether stock or backorders allow a sale now."""
    policy: InventoryPolicy = InventoryPolicy.UNSPECIFIED
    is_of_default_location: bool = False
    """Whether it is the catalog's number, which leaves out all other locations."""


@dataclass(kw_only=True, slots=True)
class ListedProduct:
    """A product with its variants, without malformed fields."""

    row: ProductRow
    variants: list[VariantRow | RejectedRecord]
    faults: tuple[Fault, ...] = ()
    """Of the product's fields that were left out."""
    variant_faults: Mapping[int, tuple[Fault, ...]] = field(default_factory=dict)
    """Of the variants' fields that were left out, by variant id."""
    variant_count: int | None = None
    """Number of variants that the store counts, when that is more than it returned."""
    stock: Mapping[int | None, ItemStock] = field(default_factory=dict)
    """Over all locations, by variant id; None is the whole product. Empty: only the catalog has stock."""
    has_default_stock: bool = False
    """Whether some of its stock is that of the default location, although the pass reads all locations."""


def id_of(record: ListedProduct | RejectedRecord) -> int | None:
    """Return the product's id, if it has one."""
    return record.id if isinstance(record, RejectedRecord) else record.row.id


@dataclass(frozen=True, kw_only=True, slots=True)
class ProductListing:
    """A page of products in the store's order."""

    items: tuple[ListedProduct | RejectedRecord, ...]
    total: int
    """Number of products after the filters."""
    per_page: int | None = None
    """Maximum page size of the store; None: unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VariantListing:
    """A page of one product's variants."""

    items: list[VariantRow | RejectedRecord]
    faults: Mapping[int, tuple[Fault, ...]]
    """Of fields that were left out, by variant id."""
    total: int


_STRICT_LIST_DECODER: Final = msgspec.json.Decoder(ProductList)
_RAW_PAGE_DECODER: Final = msgspec.json.Decoder(RawList)
_RAW_LIST_DECODER: Final = msgspec.json.Decoder(list[msgspec.Raw])
_RAW_FIELDS_DECODER: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_IMAGE_DECODER: Final = msgspec.json.Decoder(ImageRow)
_EMPTY_LIST: Final = msgspec.Raw(b"[]")


def decode_products(body: bytes) -> ProductListing:
    """Decode a page of products. Raises msgspec.DecodeError or UnicodeDecodeError unless `body` is complete."""
    try:
        page = _STRICT_LIST_DECODER.decode(body)
    except MALFORMED_ERRORS:
        return _salvage_products(body)
    items = tuple(ListedProduct(row=row, variants=list(row.variants)) for row in page.data)
    pagination = page.meta.pagination
    return ProductListing(items=items, total=pagination.total, per_page=pagination.per_page)


def decode_variants(body: bytes) -> VariantListing:
    """Decode a page of one product's variants. Raises msgspec.DecodeError unless `body` is a complete list."""
    page = _decode_raw_page(body)
    variants, faults = _salvage_variants(page.data)
    return VariantListing(items=variants, faults=faults, total=page.meta.pagination.total)


def _salvage_products(body: bytes) -> ProductListing:
    page = _decode_raw_page(body)
    items = tuple(map(_salvage_product, page.data))
    pagination = page.meta.pagination
    return ProductListing(items=items, total=pagination.total, per_page=pagination.per_page)


def _decode_raw_page(body: bytes) -> RawList:
    try:
        return _RAW_PAGE_DECODER.decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        marked = mark_lone_surrogates(body)
        if marked == body:
            raise
        return _RAW_PAGE_DECODER.decode(marked)


def _salvage_product(raw: msgspec.Raw) -> ListedProduct | RejectedRecord:
    try:
        fields = _RAW_FIELDS_DECODER.decode(raw)
    except MALFORMED_ERRORS:
        return RejectedRecord(id=None, fault=not_a_record(raw))
    try:
        variants, variant_faults = _salvage_variants(_RAW_LIST_DECODER.decode(_required(fields, "variants")))
    except InvalidRecord as error:
        return _rejected(fields, error.fault)
    except MALFORMED_ERRORS:
        return _rejected(fields, invalid_field("variants", fields["variants"]))
    images, image_faults = _salvage_images(fields.get("images"))
    salvaged = _PRODUCT_SALVAGER.salvage({**fields, "variants": _EMPTY_LIST, "images": _EMPTY_LIST})
    if isinstance(salvaged, RejectedRecord):
        return salvaged
    row, faults = salvaged
    row.images = images
    return ListedProduct(
        row=row, variants=variants, faults=(*faults, *image_faults), variant_faults=variant_faults
    )


def _salvage_images(raw: msgspec.Raw | None) -> tuple[list[ImageRow], tuple[Fault, ...]]:
    """Return the well-formed images, and the faults of the others."""
    try:
        raws = _RAW_LIST_DECODER.decode(raw) if raw is not None else []
    except MALFORMED_ERRORS:
        return [], (invalid_field("images", raw or _EMPTY_LIST),)
    images: list[ImageRow] = []
    faults: list[Fault] = []
    for one in raws:
        try:
            images.append(_IMAGE_DECODER.decode(one))
        except MALFORMED_ERRORS:
            faults.append(invalid_field("images", one))
    return images, tuple(faults)


def _salvage_variants(
    raws: list[msgspec.Raw],
) -> tuple[list[VariantRow | RejectedRecord], dict[int, tuple[Fault, ...]]]:
    variants: list[VariantRow | RejectedRecord] = []
    faults: dict[int, tuple[Fault, ...]] = {}
    for raw in raws:
        try:
            fields = _RAW_FIELDS_DECODER.decode(raw)
        except MALFORMED_ERRORS:
            variants.append(RejectedRecord(id=None, fault=not_a_record(raw)))
            continue
        salvaged = _VARIANT_SALVAGER.salvage(fields)
        if isinstance(salvaged, RejectedRecord):
            variants.append(salvaged)
            continue
        row, row_faults = salvaged
        variants.append(row)
        if row_faults:
            faults[row.id] = row_faults
    return variants, faults


class _Salvager(Generic[RowT]):
    """Builds a row from its raw fields, without malformed DROPPABLE_FIELDS."""

    def __init__(self, row_type: type[RowT]) -> None:
        self._row_type: type[RowT] = row_type
        self._fields = tuple(
            (one.name, one.required, msgspec.json.Decoder(one.type)) for one in msgspec.structs.fields(row_type)
        )

    def salvage(self, fields: Mapping[str, msgspec.Raw]) -> tuple[RowT, tuple[Fault, ...]] | RejectedRecord:
        """Return the row and the faults of the fields that were left out, or the rejected record."""
        values: dict[str, Any] = {}
        faults: list[Fault] = []
        for name, is_required, decoder in self._fields:
            raw = fields.get(name)
            if raw is None:
                if is_required:
                    return _rejected(fields, missing_field(name))
                continue
            try:
                values[name] = decoder.decode(raw)
            except MALFORMED_ERRORS as error:
                fault = invalid_field(name, raw, error)
                if name not in DROPPABLE_FIELDS:
                    return _rejected(fields, fault)
                faults.append(fault)
        return self._row_type(**values), tuple(faults)


_PRODUCT_SALVAGER: Final = _Salvager(ProductRow)
_VARIANT_SALVAGER: Final = _Salvager(VariantRow)


def _required(fields: Mapping[str, msgspec.Raw], name: str) -> msgspec.Raw:
    raw = fields.get(name)
    if raw is None:
        raise InvalidRecord(missing_field(name))
    return raw


def _rejected(fields: Mapping[str, msgspec.Raw], fault: Fault) -> RejectedRecord:
    return RejectedRecord(id=_decode_id(fields), fault=fault, modified_at=_decode_modified_at(fields))


def _decode_id(fields: Mapping[str, msgspec.Raw]) -> int | None:
    try:
        number = msgspec.json.decode(fields["id"], type=int)
    except (KeyError, *MALFORMED_ERRORS):
        return None
    return number if 0 < number < 2**63 else None


def _decode_modified_at(fields: Mapping[str, msgspec.Raw]) -> datetime | None:
    try:
        return to_utc(msgspec.json.decode(fields["date_modified"], type=datetime))
    except (KeyError, *MALFORMED_ERRORS):
        return None


def to_utc(moment: datetime | None) -> datetime | None:
    """Convert `moment` to UTC (one without a zone is UTC already); None when it is outside the calendar."""
    if moment is None:
        return None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        return None
