"""Decodes a list of records: all at once when they are sound, else one by one, so that no fault spreads."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec

from connector_svc.domain.issue import IssueReason
from connector_svc.platforms.woocommerce.wire import DECORATION, GoodsRow

RowT = TypeVar("RowT", bound=GoodsRow)
SAMPLE_LENGTH = 200
_PRICES = frozenset({"price", "regular_price", "sale_price"})
_NUMBER = re.compile(rb"-?\d{1,24}(?:\.\d{1,24})?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What is wrong with one field."""

    reason: IssueReason
    field: str
    message: str
    sample: str = ""


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


class _Unfit(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class RecordReader(Generic[RowT]):
    """Reads lists of one kind of record."""

    def __init__(self, row_type: type[RowT]) -> None:
        self._row_type = row_type
        self._fields = {field.name: field for field in msgspec.structs.fields(row_type)}
        self._whole = msgspec.json.Decoder(list[row_type])  # type: ignore[valid-type]
        self._single = msgspec.json.Decoder(row_type)
        self._raws = msgspec.json.Decoder(list[msgspec.Raw])

    def read(self, text: bytes) -> Records[RowT]:
        """Raises msgspec.DecodeError when `text` is not a whole JSON list."""
        try:
            return Records(items=tuple(self._whole.decode(text)))
        except msgspec.ValidationError:
            return self._one_by_one(self._raws.decode(text))

    def _one_by_one(self, raws: list[msgspec.Raw]) -> Records[RowT]:
        blemishes: dict[int, tuple[Fault, ...]] = {}
        items: list[RowT | Broken] = []
        for raw in raws:
            try:
                items.append(self._single.decode(raw))
            except msgspec.ValidationError:
                item, faults = self._repaired(raw)
                items.append(item)
                if faults and not isinstance(item, Broken):
                    blemishes[item.id] = faults
        return Records(items=tuple(items), blemishes=blemishes)

    def _repaired(self, raw: msgspec.Raw) -> tuple[RowT | Broken, tuple[Fault, ...]]:
        """The record without the decorative fields that make no sense."""
        try:
            sent = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        except msgspec.ValidationError:
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
        except _Unfit as unfit:
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
                raise _Unfit(_missing(name))
            return
        try:
            values[name] = _lenient(raw, struct_field.type)
        except msgspec.ValidationError:
            fault = _invalid(name, raw)
            if name == "stock_quantity" and _NUMBER.fullmatch(bytes(raw)):
                # Plugins sell by weight; whole units are what can be promised.
                values[name] = math.floor(Decimal(bytes(raw).decode()))
            elif name not in DECORATION:
                raise _Unfit(fault) from None
            faults.append(fault)


def _lenient(raw: msgspec.Raw, kind: Any) -> Any:
    """The value, also when plugins turned texts into numbers or numbers into texts."""
    text = bytes(raw)
    if kind is str and _NUMBER.fullmatch(text):
        return text.decode()
    return msgspec.json.decode(text, type=kind, strict=False)


def _id_of(sent: Mapping[str, msgspec.Raw], name: str) -> int | None:
    try:
        return msgspec.json.decode(sent[name], type=int, strict=False)
    except (KeyError, msgspec.ValidationError):
        return None


def _missing(name: str) -> Fault:
    reason = IssueReason.MISSING_ID if name == "id" else IssueReason.MISSING_FIELD
    return Fault(reason=reason, field=name, message=f'The store sent no "{name}".')


def _invalid(name: str, raw: msgspec.Raw) -> Fault:
    if name == "id":
        reason = IssueReason.MISSING_ID
    else:
        reason = IssueReason.INVALID_PRICE if name in _PRICES else IssueReason.INVALID_FIELD
    message = f'"{name}" has a value that makes no sense.'
    return Fault(reason=reason, field=name, message=message, sample=_sample(raw))


def _sample(raw: msgspec.Raw) -> str:
    return bytes(raw)[: SAMPLE_LENGTH * 4].decode(errors="replace")[:SAMPLE_LENGTH]
