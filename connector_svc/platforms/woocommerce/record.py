"""Decodes a list of records: all at once when they are sound, else one by one, so that no fault spreads."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec

from connector_svc.domain.records import (
    MALFORMED_ERRORS,
    SAMPLE_LENGTH,
    Fault,
    InvalidRecord,
    IssueReason,
    is_too_long,
    mark_lone_surrogates,
)
from connector_svc.platforms.woocommerce.wire import DECORATION, IdRow

RowT = TypeVar("RowT", bound=IdRow)
_PRICES = frozenset({"price", "regular_price", "sale_price"})
_NUMBER = re.compile(rb"-?\d{1,24}(?:\.\d{1,24})?")
_QUOTED = re.compile(rb'"(?:-?\d{1,24}(?:\.\d{1,24})?|true|false)"')


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """A record that cannot be stored."""

    id: int | None
    """None: it has none."""
    fault: Fault
    parent_id: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Records(Generic[RowT]):
    """A list as the store sent it, in its order."""

    items: tuple[RowT | Broken, ...] = ()
    blemishes: Mapping[int, tuple[Fault, ...]] = field(default_factory=dict)
    """By record id: decorative fields that were left empty because they made no sense."""


_TWICE = Fault(
    reason=IssueReason.DUPLICATE_ID,
    field="id",
    message="The store listed this id more than once on one page; it is stored once.",
)


class RecordReader(Generic[RowT]):
    """Reads lists of one kind of record."""

    def __init__(self, row_type: type[RowT]) -> None:
        self._row_type = row_type
        self._fields = {field.name: field for field in msgspec.structs.fields(row_type)}
        self._whole = msgspec.json.Decoder(list[row_type])  # type: ignore[valid-type]
        self._single = msgspec.json.Decoder(row_type)
        self._raws = msgspec.json.Decoder(list[msgspec.Raw])

    def read(self, text: bytes) -> Records[RowT]:
        """Raises msgspec.DecodeError when `text` is not a whole JSON list, RecursionError when it has no end."""
        records: Records[RowT]
        try:
            records = Records(items=tuple(self._whole.decode(text)))
        except (msgspec.DecodeError, UnicodeDecodeError):
            records = self._one_by_one(self._raw_records(text))
        return _with_duplicates_told(records)

    def _raw_records(self, text: bytes) -> list[msgspec.Raw]:
        try:
            return self._raws.decode(text)
        except msgspec.DecodeError:
            marked = mark_lone_surrogates(text)
            if marked == text:
                raise
            return self._raws.decode(marked)

    def _one_by_one(self, raws: list[msgspec.Raw]) -> Records[RowT]:
        blemishes: dict[int, tuple[Fault, ...]] = {}
        items: list[RowT | Broken] = []
        for raw in raws:
            try:
                items.append(self._single.decode(raw))
            except MALFORMED_ERRORS:
                item, faults = self._repaired(raw)
                items.append(item)
                if faults and not isinstance(item, Broken):
                    blemishes[item.id] = faults
        return Records(items=tuple(items), blemishes=blemishes)

    def _repaired(self, raw: msgspec.Raw) -> tuple[RowT | Broken, tuple[Fault, ...]]:
        """The record without the decorative fields that make no sense."""
        try:
            sent = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        except MALFORMED_ERRORS:
            fault = Fault(
                reason=IssueReason.MISSING_ID,
                field="",
                message="The store sent something that is not a record.",
                sample=_sample(raw),
            )
            return Broken(id=None, fault=fault), ()
        values: dict[str, Any] = {}
        faults: list[Fault] = []
        try:
            for name, struct_field in self._fields.items():
                self._take(name, struct_field, sent, values, faults)
        except InvalidRecord as unfit:
            return Broken(id=_id_of(sent, "id"), fault=unfit.fault, parent_id=_id_of(sent, "parent_id")), ()
        return self._row_type(**values), tuple(faults)

    def _take(
        self,
        name: str,
        struct_field: msgspec.structs.FieldInfo,
        sent: Mapping[str, msgspec.Raw],
        values: dict[str, Any],
        faults: list[Fault],
    ) -> None:
        raw = sent.get(name)
        if raw is None:
            if struct_field.required:
                raise InvalidRecord(_missing(name))
            return
        try:
            values[name] = _lenient(raw, struct_field.type)
        except MALFORMED_ERRORS as error:
            fault = _invalid(name, raw, error)
            if name == "stock_quantity" and _is_fraction(raw):
                # Plugins sell by weight; whole units are what can be promised.
                values[name] = math.floor(Decimal(bytes(raw).decode()))
                fault = _rounded(name, raw, values[name])
            elif name not in DECORATION:
                raise InvalidRecord(fault) from None
            faults.append(fault)


def _with_duplicates_told(records: Records[RowT]) -> Records[RowT]:
    ids = [item.id for item in records.items if item.id is not None]
    if len(set(ids)) == len(records.items):
        return records
    counts = Counter(ids)
    twice = {record_id: (_TWICE,) for record_id, count in counts.items() if count > 1}
    told = {key: records.blemishes.get(key, ()) + twice.get(key, ()) for key in {*records.blemishes, *twice}}
    return Records(items=records.items, blemishes=told)


def _is_fraction(raw: msgspec.Raw) -> bool:
    number = _NUMBER.fullmatch(bytes(raw))
    return number is not None and b"." in number[0] and abs(Decimal(number[0].decode())) < 2**63


def _lenient(raw: msgspec.Raw, kind: Any) -> Any:
    """The value, also when plugins turned texts into numbers or numbers into texts."""
    text = bytes(raw)
    if _is_text(kind) and _NUMBER.fullmatch(text):
        return text.decode()
    # Otherwise msgspec takes the text "null" for nothing, and "1e5" for an id.
    strict = text.startswith(b'"') and not _QUOTED.fullmatch(text)
    return msgspec.json.decode(text, type=kind, strict=strict)


def _is_text(kind: Any) -> bool:
    return str in (kind, getattr(kind, "__origin__", None))


def _id_of(sent: Mapping[str, msgspec.Raw], name: str) -> int | None:
    try:
        return msgspec.json.decode(sent[name], type=int, strict=False)
    except (KeyError, *MALFORMED_ERRORS):
        return None


def _missing(name: str) -> Fault:
    reason = IssueReason.MISSING_ID if name == "id" else IssueReason.MISSING_FIELD
    return Fault(reason=reason, field=name, message=f'The store sent no "{name}".')


def _invalid(name: str, raw: msgspec.Raw, error: Exception) -> Fault:
    if name == "id":
        reason = IssueReason.MISSING_ID
    elif is_too_long(error):
        reason = IssueReason.TOO_LARGE
    else:
        reason = IssueReason.INVALID_PRICE if name in _PRICES else IssueReason.INVALID_FIELD
    message = f'"{name}" has a value that makes no sense.'
    return Fault(reason=reason, field=name, message=message, sample=_sample(raw))


def _rounded(name: str, raw: msgspec.Raw, stored: int) -> Fault:
    message = f'"{name}" is {bytes(raw).decode()}, no whole number; {stored} is stored.'
    return Fault(reason=IssueReason.INVALID_FIELD, field=name, message=message, sample=_sample(raw))


def _sample(raw: msgspec.Raw) -> str:
    return bytes(raw)[: SAMPLE_LENGTH * 4].decode(errors="replace")[:SAMPLE_LENGTH]
