"""Record salvage: field-by-field decoding of a record that does not follow the format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeVar

import msgspec

from connector_svc.domain.records import SAMPLE_LENGTH, Fault, InvalidRecord, IssueReason
from connector_svc.platforms.feed.wire import MAX_VARIANTS, ProductLine, RecordId, VariantLine

StructT = TypeVar("StructT", ProductLine, VariantLine)
RawFields = dict[str, msgspec.Raw]
_RawVariants = Annotated[list[msgspec.Raw], msgspec.Meta(max_length=MAX_VARIANTS)]

REQUIRED_VALUES: Final = frozenset(
    {"id", "title", "status", "sku", "price", "stock_quantity", "available", "options"}
)
"""Fields that are never guessed: an invalid value in one of them rejects its product or variant."""
DECODE_ERRORS: Final = (msgspec.MsgspecError, RecursionError, UnicodeError)
"""What decoding may raise, whatever the bytes."""
_PRICE_FIELDS: Final = frozenset({"price", "compare_at_price"})


@dataclass(kw_only=True, slots=True)
class SalvagedProduct:
    """A product without its invalid fields and variants."""

    line: ProductLine
    faults: list[Fault] = field(default_factory=list)
    variant_faults: list[tuple[str, Fault]] = field(default_factory=list)
    """With the variant's id, empty if it has none."""
    is_complete: bool = True
    """Whether no variant was dropped."""


def salvage_product(fields: RawFields) -> SalvagedProduct:
    """Decode `fields` without those that are invalid. Raises InvalidRecord for REQUIRED_VALUES."""
    faults: list[Fault] = []
    variant_faults: list[tuple[str, Fault]] = []
    raws = raw_variants(fields)
    variants = list(_salvage_variants(raws, variant_faults))
    values = _decode_values(ProductLine, {**fields, "variants": msgspec.Raw(b"[]")}, faults)
    line = msgspec.structs.replace(ProductLine(**values), variants=variants)
    return SalvagedProduct(
        line=line, faults=faults, variant_faults=variant_faults, is_complete=len(variants) == len(raws)
    )


def raw_fields(text: bytes) -> RawFields:
    """Return the fields of a JSON object, undecoded. Raises InvalidRecord."""
    try:
        return msgspec.json.decode(text, type=RawFields)
    except DECODE_ERRORS:
        message = "The line is not a JSON object."
        raise InvalidRecord(Fault(reason=IssueReason.MISSING_ID, message=message, sample=_sample(text))) from None


def record_id(fields: RawFields) -> str:
    """Return the id among `fields`; empty when it is missing or invalid."""
    try:
        return str(msgspec.json.decode(fields["id"], type=RecordId))
    except (KeyError, *DECODE_ERRORS):
        return ""


def is_tombstone(fields: RawFields) -> bool:
    """Return whether `fields` mark the product as deleted."""
    try:
        return msgspec.json.decode(fields["deleted"], type=bool, strict=False)
    except (KeyError, *DECODE_ERRORS):
        return False


def raw_variants(fields: RawFields) -> list[msgspec.Raw]:
    """Return the variants, undecoded. Raises InvalidRecord unless they are a list of at most MAX_VARIANTS."""
    raw = fields.get("variants")
    if raw is None:
        raise InvalidRecord(_missing_field("variants"))
    try:
        return msgspec.json.decode(raw, type=_RawVariants)
    except DECODE_ERRORS as error:
        raise InvalidRecord(_invalid_field("variants", raw, error)) from None


def _salvage_variants(raws: list[msgspec.Raw], faults: list[tuple[str, Fault]]) -> Iterator[VariantLine]:
    """Yield the valid variants; append the faults of all with their variant ids."""
    for raw in raws:
        variant_faults: list[Fault] = []
        identifier = ""
        try:
            fields = raw_fields(bytes(raw))
            identifier = record_id(fields)
            yield VariantLine(**_decode_values(VariantLine, fields, variant_faults))
        except InvalidRecord as error:
            variant_faults.append(error.fault)
        faults += [(identifier, fault) for fault in variant_faults]


def _decode_values(struct: type[StructT], fields: RawFields, faults: list[Fault]) -> dict[str, Any]:
    """Return the valid values of `struct`; append the faults of the others. Raises InvalidRecord."""
    values: dict[str, Any] = {}
    for known in msgspec.structs.fields(struct):
        raw = fields.get(known.name)
        if raw is None:
            if known.required:
                raise InvalidRecord(_missing_field(known.name))
            continue
        try:
            values[known.name] = msgspec.json.decode(raw, type=known.type, strict=False)
        except DECODE_ERRORS as error:
            fault = _invalid_field(known.name, raw, error)
            if known.name in REQUIRED_VALUES:
                raise InvalidRecord(fault) from None
            faults.append(fault)
    return values


def _missing_field(name: str) -> Fault:
    reason = IssueReason.MISSING_ID if name == "id" else IssueReason.MISSING_FIELD
    return Fault(reason=reason, field=name, message=f'"{name}" is missing.')


def _invalid_field(name: str, raw: msgspec.Raw, error: BaseException) -> Fault:
    sample = _sample(bytes(raw))
    if "of length <=" in str(error):
        return Fault(
            reason=IssueReason.TOO_LARGE, field=name, message=f'"{name}" is longer than allowed.', sample=sample
        )
    reason = IssueReason.INVALID_PRICE if name in _PRICE_FIELDS else IssueReason.INVALID_FIELD
    reason = IssueReason.MISSING_ID if name == "id" else reason
    return Fault(reason=reason, field=name, message=_invalid_field_message(name), sample=sample)


def _invalid_field_message(name: str) -> str:
    if name in _PRICE_FIELDS:
        return f'"{name}" must be a decimal number of at least zero, as text: "7.30".'
    if name in ("sku", "barcode"):
        return f'"{name}" must be text, in quotes, so that leading zeros are kept.'
    return f'"{name}" has a value that the format does not allow.'


def _sample(text: bytes) -> str:
    return text[: SAMPLE_LENGTH * 4].decode(errors="replace")[:SAMPLE_LENGTH]
