"""The columns of `product` and `item`, derived from the fields of `ProductRecord` and `ItemRecord`.

| Field | Column | Staging column (filled by COPY) |
|---|---|---|
| PlatformId | text | text |
| str | text DEFAULT '' | text |
| bytes | bytea | bytea |
| bool | boolean | boolean |
| int | integer | integer |
| Int64 | bigint | bigint |
| datetime | timestamptz | timestamptz |
| list[str] | text[] | text[] |
| DecimalDigits | numeric | text |
| JsonText | jsonb | text |

A field that may be None is a column that may be NULL. Numbers are staged as text since that is what COPY takes
fastest, and PostgreSQL reads a number from text faster than asyncpg encodes one. `numeric` has no precision, so
that the platform's own trailing zeros stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from types import NoneType
from typing import Any, Final, NamedTuple, get_args, get_type_hints

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, LargeBinary, Numeric, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import TypeEngine

from catalog_svc.domain.records import DecimalDigits, Int64, ItemRecord, JsonText, PlatformId, ProductRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordColumn:
    """One column of `product` or `item` that is filled from a record of the source."""

    name: str
    type: TypeEngine[Any]
    nullable: bool
    server_default: str | None
    staging_type: str
    """Type of the column in the staging table."""
    cast_to: str | None
    """Type to which the staged value is cast when it is stored; None: the types are the same."""

    def to_column(self) -> Column[object]:
        """Return a new column of the table."""
        return Column(self.name, self.type, nullable=self.nullable, server_default=self.server_default)


_RECORD_TYPES: Final[dict[object, tuple[TypeEngine[Any], str]]] = {
    PlatformId: (Text(), "text"),
    str: (Text(), "text"),
    bytes: (LargeBinary(), "bytea"),
    bool: (Boolean(), "boolean"),
    int: (Integer(), "integer"),
    Int64: (BigInteger(), "bigint"),
    datetime: (DateTime(timezone=True), "timestamptz"),
    list[str]: (ARRAY(Text), "text[]"),
    DecimalDigits: (Numeric(), "text"),
    JsonText: (JSONB(), "text"),
}
"""Type of the column and of the staging column, by the type of the field."""
_CASTS: Final[dict[object, str]] = {DecimalDigits: "numeric", JsonText: "jsonb"}


def _record_columns(record: type[NamedTuple]) -> tuple[RecordColumn, ...]:
    columns: list[RecordColumn] = []
    for name, hint in get_type_hints(record, include_extras=True).items():
        nullable = NoneType in get_args(hint)
        field_type = next(part for part in get_args(hint) if part is not NoneType) if nullable else hint
        column_type, staging_type = _RECORD_TYPES[field_type]
        columns.append(
            RecordColumn(
                name=name,
                type=column_type,
                nullable=nullable,
                server_default="" if field_type is str else None,
                staging_type=staging_type,
                cast_to=_CASTS.get(field_type),
            )
        )
    return tuple(columns)


PRODUCT_COLUMNS: Final = _record_columns(ProductRecord)
ITEM_COLUMNS: Final = _record_columns(ItemRecord)
