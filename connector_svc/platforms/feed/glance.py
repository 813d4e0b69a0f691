"""The ids of a record, without understanding it: what the first reading of a file looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

from connector_svc.domain.records import InvalidRecord
from connector_svc.platforms.feed.record import Record
from connector_svc.platforms.feed.repair import (
    FAULTS,
    Raws,
    fields_of,
    id_in,
    is_tombstone,
    raw_variants,
)
from connector_svc.platforms.feed.wire import MAX_VARIANTS, RecordId


class _VariantIds(msgspec.Struct):
    id: RecordId


class _Ids(msgspec.Struct):
    id: RecordId
    deleted: bool = False
    variants: Annotated[list[_VariantIds], msgspec.Meta(max_length=MAX_VARIANTS)] = []


@dataclass(frozen=True, slots=True)
class Glance:
    """What a record is about."""

    id: str
    """Empty when it has none."""
    gone: bool = False
    variant_ids: tuple[str, ...] = ()


_DECODER = msgspec.json.Decoder(_Ids, strict=False)


def glance(record: Record) -> Glance:
    """The same ids that parsing the record finds. Never raises."""
    if not record.text:
        return Glance(record.id)
    try:
        found = _DECODER.decode(record.text)
    except FAULTS:
        return _closer(record.text)
    if found.deleted:
        return Glance(str(found.id), gone=True)
    return Glance(str(found.id), variant_ids=tuple(str(variant.id) for variant in found.variants))


def _closer(text: bytes) -> Glance:
    fields: Raws = {}
    try:
        fields = fields_of(text)
        if is_tombstone(fields) and id_in(fields):
            return Glance(id_in(fields), gone=True)
        ids = [_variant_id(raw) for raw in raw_variants(fields)]
    except InvalidRecord:
        ids = []
    return Glance(id_in(fields), variant_ids=tuple(identifier for identifier in ids if identifier))


def _variant_id(raw: msgspec.Raw) -> str:
    try:
        return id_in(fields_of(bytes(raw)))
    except InvalidRecord:
        return ""
