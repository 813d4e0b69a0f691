"""JSON schemas of the records, generated from the contract as `json_form` encodes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from catalogsync.catalog.v1 import analysis_service_pb2 as analysis_pb
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from catalogsync_bff.json_form import Json, enum_prefix

RECORDS: Final[Sequence[type]] = (
    pb.ShopDetails,
    pb.Sync,
    pb.SyncIssue,
    pb.GetStatusResponse,
    pb.Item,
    pb.Product,
    analysis_pb.GetAnalysisResponse,
)
_NAMES: Final = {"GetStatusResponse": "ShopStatus", "GetAnalysisResponse": "ItemAnalyses"}
"""Names of schemas that differ from those of the messages."""
_SPECIAL: Final[Mapping[str, Json]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "number", "description": "Seconds."},
    "google.protobuf.Struct": {"type": "object"},
    "google.rpc.Status": {"$ref": "#/components/schemas/SyncError"},
}
_SYNC_ERROR: Final[Json] = {
    "type": "object",
    "properties": {
        "code": {"type": "string"},
        "reason": {"type": "string"},
        "message": {"type": "string"},
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["code", "reason", "message", "metadata"],
}
_INTEGERS: Final = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    }
)
_NUMBERS: Final = frozenset({FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT})


def ref(name: str) -> Json:
    """Return the reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(name: str) -> Json:
    """Return the schema of a list of records."""
    return {"type": "array", "items": ref(name)}


def record_schemas() -> Mapping[str, Json]:
    """Return the schemas of all records and of the messages in them, by name."""
    schemas: dict[str, Json] = {"SyncError": _SYNC_ERROR}
    for record in RECORDS:
        _add(record.DESCRIPTOR, schemas)  # type: ignore[attr-defined]
    return dict(sorted(schemas.items()))


def _add(message: Descriptor, schemas: dict[str, Json]) -> str:
    name = _NAMES.get(message.name, message.name)
    if name not in schemas:
        schemas[name] = {}
        properties = {field.name: _field(field, schemas) for field in message.fields}
        schemas[name] = {"type": "object", "properties": properties, "required": list(properties)}
    return name


def _field(field: FieldDescriptor, schemas: dict[str, Json]) -> Json:
    schema = _value(field, schemas)
    if field.is_repeated:
        return {"type": "array", "items": schema}
    if field.has_presence:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema


def _value(field: FieldDescriptor, schemas: dict[str, Json]) -> Json:
    if field.message_type is not None:
        special = _SPECIAL.get(field.message_type.full_name)
        return special if special is not None else ref(_add(field.message_type, schemas))
    if field.enum_type is not None:
        names = [one.name.removeprefix(enum_prefix(field.enum_type)) for one in field.enum_type.values]
        return {"type": "string", "description": f"{', '.join(names)}. Values may be added."}
    if field.cpp_type in _INTEGERS:
        return {"type": "integer"}
    if field.cpp_type in _NUMBERS:
        return {"type": "number"}
    return {"type": "boolean" if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL else "string"}
