"""The JSON form of protobuf messages.

Keys are the field names of the contract, all of them, in its order. Enum values have no prefix ("RUNNING"), int64
are numbers, times RFC 3339, durations seconds, a Struct is an object; what is absent is null. An RPC status
(`Sync.error`) has the keys code, reason, message and metadata.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final, TypeAlias

from catalogsync_common.status import DOMAIN, without_reason
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

Json: TypeAlias = Any
"""What `json.dumps` accepts."""

_WORD_START: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def encode(value: Json) -> bytes:
    """Return a JSON value as UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def to_json(message: Message) -> Json:
    """Return the JSON form of a message."""
    match message:
        case Timestamp():
            return _time(message)
        case Duration():
            return message.seconds + message.nanos / 1e9 if message.nanos else message.seconds
        case Status():
            return _status(message)
        case Struct():
            return MessageToDict(message)
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def enum_prefix(enum: EnumDescriptor) -> str:
    """Return what the names of an enum's values begin with: "STATE_" of "STATE_RUNNING"."""
    return f"{_WORD_START.sub('_', enum.name).upper()}_"


# A descriptor has one of two types, depending on the implementation of protobuf; both have the same members.


def _field(message: Message, field: Any) -> Json:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(getattr(message, field.name))
    if field.is_repeated:
        return [_value(field, value) for value in getattr(message, field.name)]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _value(field, getattr(message, field.name))


def _value(field: Any, value: Any) -> Json:
    if field.message_type is not None:
        return to_json(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        # A newer release may send a value that this one does not know.
        return known.name.removeprefix(enum_prefix(field.enum_type)) if known else f"UNKNOWN_{value}"
    return value


def _time(time: Timestamp) -> str:
    moment = time.ToDatetime(tzinfo=UTC)
    precision = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def _status(status: Status) -> Mapping[str, Json]:
    info = ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            break
    reason = info.reason if info.domain == DOMAIN else ""
    return {
        "code": Code.Name(status.code) if status.code in Code.values() else str(status.code),
        "reason": reason,
        "message": without_reason(status.message, reason),
        "metadata": dict(sorted(info.metadata.items())),
    }
