"""Decode a store's JSON in spite of noise around it and invalid records in it.

1. `decode_json_body` finds the JSON in a response body, whatever plugins printed before it.
2. `RecordDecoder` decodes a list of records: all at once when they are valid, else one by one and field by field,
   so that an invalid value affects its own record only.
"""

from __future__ import annotations

import codecs
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
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
from connector_svc.platforms.woocommerce.wire import OPTIONAL_FIELDS, IdRow

T = TypeVar("T")
RowT = TypeVar("RowT", bound=IdRow)

_JSON_START = re.compile(rb"(?:\A|[\n>])(?:\s|\xef\xbb\xbf)*(\[\s*[{\]]|\{\s*[\"}])")
"""Start of a list of records or of an object: at the start of a line, or right after a tag."""
_MAX_NOISE_BYTES = 64 * 1024
"""The JSON is searched for in this many bytes."""

_PRICE_FIELDS = frozenset({"price", "regular_price", "sale_price"})
_NUMBER = re.compile(rb"-?\d{1,24}(?:\.\d{1,24})?")
_QUOTED_NUMBER_OR_BOOLEAN = re.compile(rb'"(?:-?\d{1,24}(?:\.\d{1,24})?|true|false)"')


@dataclass(frozen=True, slots=True)
class JsonBody(Generic[T]):
    """The decoded JSON of a response body."""

    value: T
    has_noise: bool
    """Whether something that is not JSON precedes it, such as PHP notices."""


class TruncatedJson(Exception):
    """The body starts like JSON, or is empty, and ends too early."""


class NotJson(Exception):
    """The body is something else: a web page, or JSON of another shape."""


def decode_json_body(body: bytes, decode: Callable[[bytes], T]) -> JsonBody[T]:
    """Decode the JSON in `body`.

    Args:
        decode: Decodes JSON text; raises msgspec's errors.

    Raises:
        TruncatedJson: The JSON ends too early.
        NotJson: There is no JSON, or `decode` does not accept its shape.
    """
    text = body.removeprefix(codecs.BOM_UTF8).strip()
    try:
        return JsonBody(decode(text), has_noise=False)
    except RecursionError:
        raise NotJson from None
    except msgspec.DecodeError:
        if _is_complete(text):
            raise NotJson from None
    embedded = _embedded_json(text)
    if not _is_complete(embedded):
        raise TruncatedJson
    try:
        return JsonBody(decode(embedded), has_noise=True)
    except msgspec.DecodeError:
        raise NotJson from None


def _embedded_json(text: bytes) -> bytes:
    """Return everything from the first start of JSON; raise NotJson when there is none.

    Never from a later start: in a truncated body any inner list would be taken for the whole.
    """
    found = _JSON_START.search(text, 0, _MAX_NOISE_BYTES)
    if found is not None:
        return text[found.start(1) :]
    if text in (b"", b"[", b"{"):
        return text
    raise NotJson


def _is_complete(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectedRecord:
    """A record that cannot be stored."""

    id: int | None
    """None: the record has no valid id."""
    fault: Fault
    parent_id: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedRecords(Generic[RowT]):
    """A list in the order of the store."""

    items: tuple[RowT | RejectedRecord, ...] = ()
    field_faults: Mapping[int, tuple[Fault, ...]] = field(default_factory=dict)
    """By record id: faults that do not reject the record. An optional field that is invalid is left empty."""

    def faults_of(self, item: RowT | RejectedRecord) -> tuple[Fault, ...]:
        """Return the field faults of one of the items."""
        return self.field_faults.get(item.id, ()) if item.id is not None else ()


_DUPLICATE_ID = Fault(
    reason=IssueReason.DUPLICATE_ID,
    field="id",
    message="The store listed this id more than once on one page; it is stored once.",
)


class RecordDecoder(Generic[RowT]):
    """Decodes lists of one row type."""

    def __init__(self, row_type: type[RowT]) -> None:
        self._row_type = row_type
        self._fields = {field.name: field for field in msgspec.structs.fields(row_type)}
        self._list_decoder = msgspec.json.Decoder(list[row_type])  # type: ignore[valid-type]
        self._row_decoder = msgspec.json.Decoder(row_type)
        self._raw_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])

    def decode(self, text: bytes) -> DecodedRecords[RowT]:
        """Decode a JSON list of records.

        Raises:
            msgspec.DecodeError: `text` is not a complete JSON list.
            RecursionError: `text` is nested too deeply.
        """
        records: DecodedRecords[RowT]
        try:
            records = DecodedRecords(items=tuple(self._list_decoder.decode(text)))
        except (msgspec.DecodeError, UnicodeDecodeError):
            records = self._decode_one_by_one(self._decode_raw_list(text))
        return _with_duplicate_id_faults(records)

    def _decode_raw_list(self, text: bytes) -> list[msgspec.Raw]:
        try:
            return self._raw_list_decoder.decode(text)
        except msgspec.DecodeError:
            marked = mark_lone_surrogates(text)
            if marked == text:
                raise
            return self._raw_list_decoder.decode(marked)

    def _decode_one_by_one(self, raws: list[msgspec.Raw]) -> DecodedRecords[RowT]:
        field_faults: dict[int, tuple[Fault, ...]] = {}
        items: list[RowT | RejectedRecord] = []
        for raw in raws:
            try:
                items.append(self._row_decoder.decode(raw))
            except MALFORMED_ERRORS:
                item, faults = self._salvage(raw)
                items.append(item)
                if faults and not isinstance(item, RejectedRecord):
                    field_faults[item.id] = faults
        return DecodedRecords(items=tuple(items), field_faults=field_faults)

    def _salvage(self, raw: msgspec.Raw) -> tuple[RowT | RejectedRecord, tuple[Fault, ...]]:
        """Decode a record field by field, without the optional fields that are invalid."""
        try:
            sent = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        except MALFORMED_ERRORS:
            fault = Fault(
                reason=IssueReason.MISSING_ID,
                field="",
                message="The store sent something that is not a record.",
                sample=_sample(raw),
            )
            return RejectedRecord(id=None, fault=fault), ()
        values: dict[str, Any] = {}
        faults: list[Fault] = []
        try:
            for name, field_info in self._fields.items():
                self._decode_field(name, field_info, sent, values, faults)
        except InvalidRecord as error:
            record_id, parent_id = _decode_id(sent, "id"), _decode_id(sent, "parent_id")
            return RejectedRecord(id=record_id, fault=error.fault, parent_id=parent_id), ()
        return self._row_type(**values), tuple(faults)

    def _decode_field(
        self,
        name: str,
        field_info: msgspec.structs.FieldInfo,
        sent: Mapping[str, msgspec.Raw],
        values: dict[str, Any],
        faults: list[Fault],
    ) -> None:
        """Add one field to `values`, or its fault to `faults`. Raise InvalidRecord when the field is required."""
        raw = sent.get(name)
        if raw is None:
            if field_info.required:
                raise InvalidRecord(_missing_field(name))
            return
        try:
            values[name] = _decode_leniently(raw, field_info.type)
        except MALFORMED_ERRORS as error:
            fault = _invalid_field(name, raw, error)
            if name == "stock_quantity" and _is_fraction(raw):
                # Plugins sell by weight; only whole units can be promised.
                values[name] = math.floor(Decimal(bytes(raw).decode()))
                fault = _rounded_field(name, raw, values[name])
            elif name not in OPTIONAL_FIELDS:
                raise InvalidRecord(fault) from None
            faults.append(fault)


def _with_duplicate_id_faults(records: DecodedRecords[RowT]) -> DecodedRecords[RowT]:
    ids = [item.id for item in records.items if item.id is not None]
    if len(set(ids)) == len(records.items):
        return records
    counts = Counter(ids)
    duplicates = {record_id: (_DUPLICATE_ID,) for record_id, count in counts.items() if count > 1}
    field_faults = {
        key: records.field_faults.get(key, ()) + duplicates.get(key, ())
        for key in {*records.field_faults, *duplicates}
    }
    return DecodedRecords(items=records.items, field_faults=field_faults)


def _is_fraction(raw: msgspec.Raw) -> bool:
    number = _NUMBER.fullmatch(bytes(raw))
    return number is not None and b"." in number[0] and abs(Decimal(number[0].decode())) < 2**63


def _decode_leniently(raw: msgspec.Raw, field_type: Any) -> Any:
    """Decode a value, also where a plugin turned a string into a number or a number into a string."""
    text = bytes(raw)
    if _is_string(field_type) and _NUMBER.fullmatch(text):
        return text.decode()
    # Otherwise msgspec decodes the string "null" as None, and "1e5" as an id.
    strict = text.startswith(b'"') and not _QUOTED_NUMBER_OR_BOOLEAN.fullmatch(text)
    return msgspec.json.decode(text, type=field_type, strict=strict)


def _is_string(field_type: Any) -> bool:
    return str in (field_type, getattr(field_type, "__origin__", None))


def _decode_id(sent: Mapping[str, msgspec.Raw], name: str) -> int | None:
    try:
        return msgspec.json.decode(sent[name], type=int, strict=False)
    except (KeyError, *MALFORMED_ERRORS):
        return None


def _missing_field(name: str) -> Fault:
    reason = IssueReason.MISSING_ID if name == "id" else IssueReason.MISSING_FIELD
    return Fault(reason=reason, field=name, message=f'The store sent no "{name}".')


def _invalid_field(name: str, raw: msgspec.Raw, error: Exception) -> Fault:
    if name == "id":
        reason = IssueReason.MISSING_ID
    elif is_too_long(error):
        reason = IssueReason.TOO_LARGE
    else:
        reason = IssueReason.INVALID_PRICE if name in _PRICE_FIELDS else IssueReason.INVALID_FIELD
    return Fault(reason=reason, field=name, message=f'"{name}" has an invalid value.', sample=_sample(raw))


def _rounded_field(name: str, raw: msgspec.Raw, stored: int) -> Fault:
    message = f'"{name}" is {bytes(raw).decode()}, not a whole number; {stored} is stored.'
    return Fault(reason=IssueReason.INVALID_FIELD, field=name, message=message, sample=_sample(raw))


def _sample(raw: msgspec.Raw) -> str:
    return bytes(raw)[: SAMPLE_LENGTH * 4].decode(errors="replace")[:SAMPLE_LENGTH]
