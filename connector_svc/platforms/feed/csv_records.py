"""CSV reader: the adjacent rows of one product become one record, in the form of an NDJSON line."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from connector_svc.domain.records import SAMPLE_LENGTH, Fault, IssueReason
from connector_svc.platforms.feed.file_reader import MAX_LINE_BYTES, Line, Record
from connector_svc.platforms.feed.wire import MAX_VARIANTS

MAX_OPTIONS: Final = 20
PRODUCT_COLUMNS: Final = (
    "id",
    "title",
    "handle",
    "description_html",
    "vendor",
    "product_type",
    "status",
    "url",
    "created_at",
    "updated_at",
)
VARIANT_COLUMNS: Final = (
    "id",
    "title",
    "sku",
    "barcode",
    "price",
    "compare_at_price",
    "stock_quantity",
    "inventory_policy",
    "available",
    "weight",
    "weight_unit",
    "created_at",
    "updated_at",
)
"""With the prefix "variant_" in the file."""
REQUIRED_COLUMNS: Final = ("id", "title", "variant_id")
MAX_CELL_CHARACTERS: Final = 131_072
"""The csv module's own limit, which is global to the process and therefore not changed."""
MAX_PRODUCT_BYTES: Final = MAX_LINE_BYTES
"""For all rows of one product, as for its line in NDJSON."""
_MAX_PRODUCT_MIB: Final = MAX_PRODUCT_BYTES // (1024 * 1024)
_TOO_LONG_CELL: Final = "x" * (MAX_CELL_CHARACTERS + 1)
"""Replaces a line that is too long: the csv module raises for it, also in the middle of a quoted cell."""
_ROW_TOO_LARGE: Final = (
    f"A cell is longer than {MAX_CELL_CHARACTERS} characters, or its row is longer than {_MAX_PRODUCT_MIB} MiB."
)
_PRODUCT_TOO_LARGE: Final = (
    f"The product has more than {MAX_VARIANTS:,} rows, or its rows have more than {_MAX_PRODUCT_MIB} MiB."
)
_TRUE_VALUES: Final = frozenset({"true", "1", "yes"})


class InvalidHeader(Exception):
    """The first row lacks a required column or names a column twice."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(slots=True)
class _ProductRows:
    """Adjacent rows with the same product id."""

    id: str
    line: int
    rows: list[Sequence[str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    row_count: int = 0
    size_bytes: int = 0
    is_complete: bool = True


def csv_records(lines: Iterable[Line]) -> Iterator[Record]:
    """Yield the records of CSV `lines`, of which the first is the header. Accepts any content after the header.

    Raises:
        InvalidHeader: The header lacks a required column or names a column twice.
    """
    source = _LineSource(lines)
    reader = csv.reader(source)
    columns = _Columns.from_header(_read_header(reader))
    product: _ProductRows | None = None
    follows_lost_row = False
    for line, row in _rows(reader, source):
        if row is None:
            # The unreadable row may belong to the product before or after it: both may lack a variant.
            if product is not None:
                product.is_complete = False
                yield _to_record(columns, product)
            product, follows_lost_row = None, True
            yield Record(line=line, faults=(_too_large(_ROW_TOO_LARGE),))
            continue
        identifier = columns.product_id(row)
        if product is None or identifier != product.id or not identifier:
            if product is not None:
                yield _to_record(columns, product)
            product = _ProductRows(id=identifier, line=line, is_complete=not follows_lost_row)
            follows_lost_row = False
        _add_row(columns, product, row, source.row_bytes)
    if product is not None:
        yield _to_record(columns, product)


class _LineSource:
    """Lines for the csv module, with the number of bytes that the current row has read.

    A row may have many lines; a row that is longer than MAX_PRODUCT_BYTES is refused like a line of that length.
    """

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = iter(lines)
        self.row_bytes = 0

    def __iter__(self) -> _LineSource:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.row_bytes += MAX_PRODUCT_BYTES + 1 if line.data is None else len(line.data)
        if line.data is None or self.row_bytes > MAX_PRODUCT_BYTES:
            return _TOO_LONG_CELL + "\n"
        return line.data.decode("utf-8", "surrogateescape") + "\n"


def _read_header(reader: Iterator[list[str]]) -> list[str]:
    try:
        return next(reader, [])
    except csv.Error:
        return []


def _rows(reader: Iterator[list[str]], source: _LineSource) -> Iterator[tuple[int, list[str] | None]]:
    """Yield rows that are not blank, with their first line number; None for a row that cannot be read."""
    line = reader.line_num + 1  # type: ignore[attr-defined]
    while True:
        source.row_bytes = 0
        try:
            row: list[str] | None = next(reader)
        except StopIteration:
            return
        except csv.Error:
            row = None
        if row is None or any(row):
            yield line, row
        line = reader.line_num + 1  # type: ignore[attr-defined]


def _add_row(columns: _Columns, product: _ProductRows, row: Sequence[str], size_bytes: int) -> None:
    product.row_count += 1
    product.size_bytes += size_bytes
    if product.size_bytes > MAX_PRODUCT_BYTES or product.row_count > MAX_VARIANTS:
        # The product is rejected as a whole: its rows are dropped, and only counted from here on.
        product.rows.clear()
        product.faults = [_too_large(_PRODUCT_TOO_LARGE)]
        return
    if len(row) == len(columns):
        product.rows.append(row)
        return
    product.is_complete = False
    message = f"A row has {len(row)} cells under a header of {len(columns)}."
    sample = ",".join(row)[:SAMPLE_LENGTH].encode("utf-8", "replace").decode()
    product.faults.append(Fault(reason=IssueReason.INVALID_FIELD, message=message, sample=sample))


def _to_record(columns: _Columns, product: _ProductRows) -> Record:
    faults, text = tuple(product.faults), b""
    try:
        text = msgspec.json.encode(columns.product(product.rows)) if product.rows else b""
    except UnicodeEncodeError:
        faults = (*faults, Fault(reason=IssueReason.INVALID_FIELD, message="The row is not UTF-8."))
    return Record(
        line=product.line,
        rows=product.row_count,
        text=text,
        id=product.id.encode("utf-8", "replace").decode(),
        faults=faults,
        is_complete=product.is_complete,
    )


def _too_large(message: str) -> Fault:
    return Fault(reason=IssueReason.TOO_LARGE, message=message)


class _Columns:
    """Reads cells by the column names of a header. Unknown columns are ignored."""

    def __init__(self, indexes: Mapping[str, int], width: int) -> None:
        self._indexes = indexes
        self._width = width
        self._options = [
            (indexes[f"option{n}_name"], indexes[f"option{n}_value"])
            for n in range(1, MAX_OPTIONS + 1)
            if {f"option{n}_name", f"option{n}_value"} <= indexes.keys()
        ]

    @classmethod
    def from_header(cls, header: Sequence[str]) -> _Columns:
        """Raise InvalidHeader unless `header` has the required columns, each column once."""
        names = [name.strip().lower() for name in header]
        missing = [name for name in REQUIRED_COLUMNS if name not in names]
        if missing:
            raise InvalidHeader(f"its first row lacks the column {', '.join(missing)}")
        if len(set(names)) != len(names):
            raise InvalidHeader("its first row names a column twice")
        return cls({name: index for index, name in enumerate(names)}, len(names))

    def __len__(self) -> int:
        return self._width

    def product_id(self, row: Sequence[str]) -> str:
        """Return the product's id; empty when the row is too short or has none."""
        index = self._indexes["id"]
        return row[index] if index < len(row) else ""

    def product(self, rows: Sequence[Sequence[str]]) -> dict[str, Any]:
        """Return the fields of a product; its own columns are read from the first of `rows`."""
        first = rows[0]
        product: dict[str, Any] = self._non_empty_cells(first, "", PRODUCT_COLUMNS)
        if self._cell(first, "deleted").strip().lower() in _TRUE_VALUES:
            return {**product, "deleted": True}
        # An empty title is a valid title; only an absent column is not.
        product["title"] = self._cell(first, "title")
        product["tags"] = [tag.strip() for tag in self._cell(first, "tags").split("|") if tag.strip()]
        product["images"] = [{"url": url} for url in self._cell(first, "image_urls").split()]
        product["variants"] = [variant for row in rows if (variant := self._variant(row))]
        return product

    def _variant(self, row: Sequence[str]) -> dict[str, Any]:
        variant = self._non_empty_cells(row, "variant_", VARIANT_COLUMNS)
        options = [{"name": row[name], "value": row[value]} for name, value in self._options if row[name]]
        if options:
            variant["options"] = options
        url = self._cell(row, "variant_image_url").strip()
        if url:
            variant["image"] = {"url": url}
        return variant

    def _non_empty_cells(self, row: Sequence[str], prefix: str, names: Sequence[str]) -> dict[str, Any]:
        cells = ((name, self._cell(row, prefix + name)) for name in names)
        return {name: cell for name, cell in cells if cell}

    def _cell(self, row: Sequence[str], name: str) -> str:
        index = self._indexes.get(name)
        return "" if index is None else row[index]
