"""Decodes a list of records: all at once when they are sound, else one by one, so that no fault spreads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

import msgspec

from connector_svc.domain.product import InventoryPolicy
from connector_svc.domain.records import MALFORMED_ERRORS, Fault, InvalidRecord, mark_lone_surrogates
from connector_svc.platforms.bigcommerce.faults import missing, no_record, senseless
from connector_svc.platforms.bigcommerce.wire import (
    DECORATION,
    ImageRow,
    ProductList,
    ProductRow,
    RawList,
    VariantRow,
)

RowT = TypeVar("RowT", ProductRow, VariantRow)


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """A record that cannot be stored."""

    id: int | None
    """None: it has none."""
    fault: Fault
    modified: datetime | None = None
    """UTC; None: it does not tell."""
    is_unlisted: bool = False
    """Whether the store only counts it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemStock:
    """What is left of one item."""

    quantity: int | None
    """None: stock is not tracked, or cannot be told."""
    sellable: bool
    """Whether stock or backorders allow a sale now."""
    policy: InventoryPolicy = InventoryPolicy.UNSPECIFIED
    is_of_default_location: bool = False
    """Whether it is the catalog's number, which leaves out all other locations."""


@dataclass(kw_only=True, slots=True)
class Listed:
    """A product with its variants, as far as they make sense."""

    row: ProductRow
    variants: list[VariantRow | Broken]
    faults: tuple[Fault, ...] = ()
    """Of its decoration, which was left out."""
    variant_faults: Mapping[int, tuple[Fault, ...]] = field(default_factory=dict)
    """The same by variant."""
    counted: int | None = None
    """How many variants the store counts, when that is more than came."""
    stock: Mapping[int | None, ItemStock] = field(default_factory=dict)
    """Over all locations, by variant; None stands for the product itself. Empty: only the catalog tells."""
    has_default_stock: bool = False
    """Whether some of its stock is that of the default location, though the pass reads all locations."""


def id_of(record: Listed | Broken) -> int | None:
    """The product's id, if it has one."""
    return record.id if isinstance(record, Broken) else record.row.id


@dataclass(frozen=True, kw_only=True, slots=True)
class ProductPage:
    """A page of products in the store's order."""

    items: tuple[Listed | Broken, ...]
    total: int
    """Of the list, as it was filtered."""
    per_page: int | None = None
    """How many the store gives at most; None: it does not tell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VariantPage:
    """A page of one product's variants."""

    items: list[VariantRow | Broken]
    faults: Mapping[int, tuple[Fault, ...]]
    total: int


_WHOLE: Final = msgspec.json.Decoder(ProductList)
_RAWS: Final = msgspec.json.Decoder(RawList)
_RAW_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_IMAGE: Final = msgspec.json.Decoder(ImageRow)
_NONE: Final = msgspec.Raw(b"[]")
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_products(text: bytes) -> ProductPage:
    """Raises msgspec.DecodeError, UnicodeDecodeError when `text` is not a whole list."""
    try:
        sound = _WHOLE.decode(text)
    except MALFORMED_ERRORS:
        return _one_by_one(text)
    items = tuple(Listed(row=row, variants=list(row.variants)) for row in sound.data)
    pagination = sound.meta.pagination
    return ProductPage(items=items, total=pagination.total, per_page=pagination.per_page)


def read_variants(text: bytes) -> VariantPage:
    """Raises msgspec.DecodeError when `text` is not a whole list."""
    raws = _raws(text)
    variants, faults = _variants(raws.data)
    return VariantPage(items=variants, faults=faults, total=raws.meta.pagination.total)


def _one_by_one(text: bytes) -> ProductPage:
    raws = _raws(text)
    pagination = raws.meta.pagination
    return ProductPage(items=tuple(map(_product, raws.data)), total=pagination.total, per_page=pagination.per_page)


def _raws(text: bytes) -> RawList:
    try:
        return _RAWS.decode(text)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        marked = mark_lone_surrogates(text)
        if marked == text:
            raise
        return _RAWS.decode(marked)


def _product(raw: msgspec.Raw) -> Listed | Broken:
    try:
        sent = _FIELDS.decode(raw)
    except MALFORMED_ERRORS:
        return Broken(id=None, fault=no_record(raw))
    try:
        variants, variant_faults = _variants(_RAW_LIST.decode(_vital(sent, "variants")))
    except InvalidRecord as unfit:
        return Broken(id=_id(sent), fault=unfit.fault, modified=_modified(sent))
    except MALFORMED_ERRORS:
        fault = senseless("variants", sent["variants"])
        return Broken(id=_id(sent), fault=fault, modified=_modified(sent))
    images, image_faults = _images(sent.get("images"))
    mended = _MENDER_OF_PRODUCTS.mend({**sent, "variants": _NONE, "images": _NONE})
    if isinstance(mended, Broken):
        return mended
    row, faults = mended
    row.images = images
    return Listed(row=row, variants=variants, faults=(*faults, *image_faults), variant_faults=variant_faults)


def _images(raw: msgspec.Raw | None) -> tuple[list[ImageRow], tuple[Fault, ...]]:
    """Those that make sense."""
    try:
        raws = _RAW_LIST.decode(raw) if raw is not None else []
    except MALFORMED_ERRORS:
        return [], (senseless("images", raw or _NONE),)
    images: list[ImageRow] = []
    faults: list[Fault] = []
    for one in raws:
        try:
            images.append(_IMAGE.decode(one))
        except MALFORMED_ERRORS:
            faults.append(senseless("images", one))
    return images, tuple(faults)


def _variants(raws: list[msgspec.Raw]) -> tuple[list[VariantRow | Broken], dict[int, tuple[Fault, ...]]]:
    variants: list[VariantRow | Broken] = []
    faults: dict[int, tuple[Fault, ...]] = {}
    for raw in raws:
        try:
            sent = _FIELDS.decode(raw)
        except MALFORMED_ERRORS:
            variants.append(Broken(id=None, fault=no_record(raw)))
            continue
        mended = _MENDER_OF_VARIANTS.mend(sent)
        if isinstance(mended, Broken):
            variants.append(mended)
            continue
        variants.append(mended[0])
        if mended[1]:
            faults[mended[0].id] = mended[1]
    return variants, faults


class _Mender(Generic[RowT]):
    """Makes a record of its fields, without those of the decoration that make no sense."""

    def __init__(self, row_type: type[RowT]) -> None:
        self._row_type: type[RowT] = row_type
        self._fields = tuple(
            (one.name, one.required, msgspec.json.Decoder(one.type)) for one in msgspec.structs.fields(row_type)
        )

    def mend(self, sent: Mapping[str, msgspec.Raw]) -> tuple[RowT, tuple[Fault, ...]] | Broken:
        values: dict[str, Any] = {}
        faults: list[Fault] = []
        for name, required, decoder in self._fields:
            raw = sent.get(name)
            if raw is None:
                if required:
                    return Broken(id=_id(sent), fault=missing(name), modified=_modified(sent))
                continue
            try:
                values[name] = decoder.decode(raw)
            except MALFORMED_ERRORS as error:
                fault = senseless(name, raw, error)
                if name not in DECORATION:
                    return Broken(id=_id(sent), fault=fault, modified=_modified(sent))
                faults.append(fault)
        return self._row_type(**values), tuple(faults)


_MENDER_OF_PRODUCTS: Final = _Mender(ProductRow)
_MENDER_OF_VARIANTS: Final = _Mender(VariantRow)


def _vital(sent: Mapping[str, msgspec.Raw], name: str) -> msgspec.Raw:
    raw = sent.get(name)
    if raw is None:
        raise InvalidRecord(missing(name))
    return raw


def _id(sent: Mapping[str, msgspec.Raw]) -> int | None:
    try:
        number = msgspec.json.decode(sent["id"], type=int)
    except (KeyError, *MALFORMED_ERRORS):
        return None
    return number if 0 < number < 2**63 else None


def _modified(sent: Mapping[str, msgspec.Raw]) -> datetime | None:
    try:
        return utc(msgspec.json.decode(sent["date_modified"], type=datetime))
    except (KeyError, *MALFORMED_ERRORS):
        return None


def utc(moment: datetime | None) -> datetime | None:
    """`moment` in UTC, which one without a zone is already; None also when it lies outside the calendar."""
    if moment is None:
        return None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        return None
