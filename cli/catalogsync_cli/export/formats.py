"""Writes rows of items as NDJSON, CSV or Parquet. Memory does not grow with the number of rows."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from io import TextIOWrapper
from typing import Any, BinaryIO, Final, Protocol, TypeAlias

import msgspec

from catalogsync_cli.export.rows import COLUMNS, Kind, Row, time_text

_ROW_GROUP_ROWS: Final = 10_000
"""Rows of a Parquet file that are in memory until they are written."""
_PAGE_BYTES: Final = 64 * 1024
_DECIMAL: Final = (38, 12)
"""Precision and scale of decimals in Parquet files; a value that does not fit is an error, never rounded."""
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet may run a cell that begins with one of them."""


class ExportFormat(StrEnum):
    """The format of a file of items."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"


class ExportFailed(Exception):
    """The rows cannot be written in this format. The message says why, and what to do."""


class RowWriter(Protocol):
    """Writes rows to an open file."""

    def write(self, rows: Sequence[Row]) -> None:
        """Write rows, now or with the next ones."""
        ...

    def finish(self) -> None:
        """Write what is missing; the file stays open."""
        ...


def open_writer(export_format: ExportFormat, file: BinaryIO, *, spreadsheet: bool = False) -> RowWriter:
    """Return the writer of a format.

    Args:
        export_format: The format.
        file: Where to write.
        spreadsheet: Whether a CSV is for spreadsheet programs, see `CsvWriter`.

    Raises:
        ExportFailed: A library is missing.
    """
    if export_format is ExportFormat.NDJSON:
        return NdjsonWriter(file)
    if export_format is ExportFormat.CSV:
        return CsvWriter(file, spreadsheet=spreadsheet)
    return ParquetWriter(file)


_Columns: TypeAlias = list[Sequence[Any]]
_Conversions: TypeAlias = Mapping[Kind, Callable[[Any], object]]


def _columns(rows: Sequence[Row], conversions: _Conversions) -> _Columns:
    """Return the values column by column, converted by kind: `map` and `zip` loop faster than we can."""
    columns = zip(*rows, strict=True)
    return [
        list(map(conversions[kind], values)) if kind in conversions else values
        for kind, values in zip(COLUMNS.values(), columns, strict=bool(rows))
    ]


def _named_options(options: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in options]


class NdjsonWriter:
    """A JSON object per line with all columns: decimals are strings, times RFC 3339 in UTC, absent values null."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._encode_lines = msgspec.json.Encoder().encode_lines
        self._line = msgspec.defstruct("_Line", list(COLUMNS))

    def write(self, rows: Sequence[Row]) -> None:
        """Write one line per row."""
        columns = _columns(rows, {Kind.TIME: time_text, Kind.OPTIONS: _named_options})
        self._file.write(self._encode_lines(list(map(self._line, *columns)) if rows else []))

    def finish(self) -> None:
        """Do nothing: every line is written."""


class CsvWriter:
    """CSV (RFC 4180) in UTF-8 with a header: exact decimals, times RFC 3339 in UTC, options as JSON.

    Values are exact by default. With `spreadsheet` the file begins with a byte order mark, and a text that a
    spreadsheet would run as a formula is preceded by an apostrophe: it comes from a merchant's shop.
    """

    def __init__(self, file: BinaryIO, *, spreadsheet: bool = False) -> None:
        self._text = TextIOWrapper(file, encoding="utf-8-sig" if spreadsheet else "utf-8", newline="")
        self._writer = csv.writer(self._text)
        encode = msgspec.json.Encoder().encode
        self._conversions: dict[Kind, Callable[[Any], object]] = {
            Kind.TIME: time_text,
            Kind.OPTIONS: lambda options: encode(_named_options(options)).decode() if options else "",
            Kind.BOOLEAN: {False: "false", True: "true"}.__getitem__,
        }
        if spreadsheet:
            self._conversions[Kind.TEXT] = _without_formula
        self._writer.writerow(COLUMNS)

    def write(self, rows: Sequence[Row]) -> None:
        """Write the rows."""
        self._writer.writerows(zip(*_columns(rows, self._conversions), strict=True))

    def finish(self) -> None:
        """Write what is buffered, and give the file back."""
        self._text.flush()
        self._text.detach()


def _without_formula(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


class ParquetWriter:
    """Parquet with zstd: decimals are decimal128, times are timestamps in UTC, options a list of structs."""

    def __init__(self, file: BinaryIO) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise ExportFailed(
                "Parquet needs pyarrow: install catalogsync-cli[parquet], or use --format ndjson or csv"
            ) from None
        self._arrow = pyarrow
        # The pool of the system gives freed memory back; the default one keeps it.
        pyarrow.set_memory_pool(pyarrow.system_memory_pool())
        self._schema = pyarrow.schema([(name, self._type(kind)) for name, kind in COLUMNS.items()])
        self._writer = pyarrow.parquet.ParquetWriter(
            file,
            self._schema,
            compression="zstd",
            dictionary_pagesize_limit=_PAGE_BYTES,
            data_page_size=_PAGE_BYTES,
        )
        self._batches: list[Any] = []

    def write(self, rows: Sequence[Row]) -> None:
        """Write the rows once a row group is complete."""
        if rows:
            columns = _columns(rows, {Kind.OPTIONS: _named_options})
            arrays = [
                self._array(name, kind, values)
                for (name, kind), values in zip(COLUMNS.items(), columns, strict=True)
            ]
            self._batches.append(self._arrow.record_batch(arrays, schema=self._schema))
        if sum(batch.num_rows for batch in self._batches) >= _ROW_GROUP_ROWS:
            self._write_group()

    def finish(self) -> None:
        """Write the last row group and the footer."""
        self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        if self._batches:
            self._writer.write_table(self._arrow.Table.from_batches(self._batches, schema=self._schema))
            self._batches.clear()

    def _type(self, kind: Kind) -> Any:
        arrow = self._arrow
        option = arrow.struct([("name", arrow.string()), ("value", arrow.string())])
        types = {
            Kind.TEXT: arrow.string(),
            Kind.INTEGER: arrow.int64(),
            Kind.BOOLEAN: arrow.bool_(),
            Kind.DECIMAL: arrow.decimal128(*_DECIMAL),
            Kind.TIME: arrow.timestamp("us", tz="UTC"),
            Kind.OPTIONS: arrow.list_(option),
        }
        return types[kind]

    def _array(self, name: str, kind: Kind, values: Sequence[object]) -> Any:
        arrow = self._arrow
        if kind is not Kind.DECIMAL:
            return arrow.array(values, type=self._type(kind))
        try:
            return arrow.array(values, type=arrow.string()).cast(self._type(kind))
        except arrow.ArrowInvalid:
            precision, scale = _DECIMAL
            raise ExportFailed(
                f"a {name} does not fit into decimal128({precision}, {scale}), and is not rounded: use --format "
                "ndjson or csv"
            ) from None
