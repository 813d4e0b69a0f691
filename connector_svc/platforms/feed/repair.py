"""Saves what can be saved of a record that is not what the format says, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeVar

import msgspec

from connector_svc.domain.records import SAMPLE_LENGTH, Fault, InvalidRecord, IssueReason
from connector_svc.platforms.feed.wire import MAX_VARIANTS, ProductLine, RecordId, VariantLine

StructT = TypeVar("StructT", ProductLine, VariantLine)
Raws = dict[str, msgspec.Raw]
_RawVariants = Annotated[list[msgspec.Raw], msgspec.Meta(max_length=MAX_VARIANTS)]

VITAL: Final = frozenset({"id", "title", "status", "sku", "price", "stock_quantity", "available", "options"})
"""Fields that are not guessed: where one makes no sense, its product or variant is set aside."""
_PRICES: Final = frozenset({"price", "compare_at_price"})
FAULTS: Final = (msgspec.MsgspecError, RecursionError, UnicodeError)
"""What decoding may raise, whatever the bytes."""


@dataclass(kw_only=True, slots=True)
class Repaired:
    """What is left of a product."""

    line: ProductLine
    faults: list[Fault] = field(default_factory=list)
    variant_faults: list[tuple[str, Fault]] = field(default_factory=list)
    """With the variant's id, empty if it has none."""
    whole: bool = True
    """Whether no variant was dropped."""


def fields_of(text: bytes) -> Raws:
    """The fields of a JSON object, undecoded. Raises InvalidRecord."""
    try:
        return msgspec.json.decode(text, type=Raws)
    except FAULTS:
        sample = text[: SAMPLE_LENGTH * 4].decode(errors="replace")[:SAMPLE_LENGTH]
        message = "The line is not a JSON object."
        raise InvalidRecord(Fault(reason=IssueReason.MISSING_ID, message=message, sample=sample)) from None


def id_in(fields: Raws) -> str:
    """The id among `fields`; empty when there is none that could be one."""
    try:
        return str(msgspec.json.decode(fields["id"], type=RecordId))
    except (KeyError, *FAULTS):
        return ""


def is_tombstone(fields: Raws) -> bool:
    """Whether they say that the product is gone."""
    try:
        return msgspec.json.decode(fields["deleted"], type=bool, strict=False)
    except (KeyError, *FAULTS):
        return False


def raw_variants(fields: Raws) -> list[msgspec.Raw]:
    """The variants, undecoded. Raises InvalidRecord when they are not a list, or too long a one."""
    raw = fields.get("variants")
    if raw is None:
        raise InvalidRecord(_missing("variants"))
    try:
        return msgspec.json.decode(raw, type=_RawVariants)
    except FAULTS as error:
        raise InvalidRecord(_invalid("variants", raw, error)) from None


def repaired(fields: Raws) -> Repaired:
    """The product of `fields` without what makes no sense. Raises InvalidRecord."""
    faults: list[Fault] = []
    variant_faults: list[tuple[str, Fault]] = []
    raws = raw_variants(fields)
    variants = list(_variants(raws, variant_faults))
    values = _values(ProductLine, {**fields, "variants": msgspec.Raw(b"[]")}, faults)
    line = msgspec.structs.replace(ProductLine(**values), variants=variants)
    return Repaired(line=line, faults=faults, variant_faults=variant_faults, whole=len(variants) == len(raws))


def _variants(raws: list[msgspec.Raw], faults: list[tuple[str, Fault]]) -> Iterator[VariantLine]:
    for raw in raws:
        own: list[Fault] = []
        identifier = ""
        try:
            fields = fields_of(bytes(raw))
            identifier = id_in(fields)
            yield VariantLine(**_values(VariantLine, fields, own))
        except InvalidRecord as unfit:
            own.append(unfit.fault)
        faults += [(identifier, fault) for fault in own]


def _values(kind: type[StructT], sent: Raws, faults: list[Fault]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for known in msgspec.structs.fields(kind):
        raw = sent.get(known.name)
        if raw is None:
            if known.required:
                raise InvalidRecord(_missing(known.name))
            continue
        try:
            values[known.name] = msgspec.json.decode(raw, type=known.type, strict=False)
        except FAULTS as error:
            fault = _invalid(known.name, raw, error)
            if known.name in VITAL:
                raise InvalidRecord(fault) from None
            faults.append(fault)
    return values


def _missing(name: str) -> Fault:
    reason = IssueReason.MISSING_ID if name == "id" else IssueReason.MISSING_FIELD
    return Fault(reason=reason, field=name, message=f'There is no "{name}".')


def _invalid(name: str, raw: msgspec.Raw, error: BaseException) -> Fault:
    sample = bytes(raw)[: SAMPLE_LENGTH * 4].decode(errors="replace")[:SAMPLE_LENGTH]
    if "of length <=" in str(error):
        return Fault(
            reason=IssueReason.TOO_LARGE, field=name, message=f'"{name}" is longer than we store.', sample=sample
        )
    reason = IssueReason.INVALID_PRICE if name in _PRICES else IssueReason.INVALID_FIELD
    reason = IssueReason.MISSING_ID if name == "id" else reason
    return Fault(reason=reason, field=name, message=_explained(name), sample=sample)


def _explained(name: str) -> str:
    if name in _PRICES:
        return f'"{name}" must be a decimal number of at least zero, as text: "7.30".'
    if name in ("sku", "barcode"):
        return f'"{name}" must be text, in quotes, so that leading zeros survive.'
    return f'"{name}" has a value that the format does not allow.'
