"""CSV as records: the adjacent rows of one product become the line of NDJSON that they stand for.

The columns of a CSV feed, and the product that rows under them stand for."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from connector_svc.domain.fault import Fault
from connector_svc.domain.issue import SAMPLE_LENGTH, IssueReason
from connector_svc.platforms.feed.file_reader import MAX_LINE_BYTES, Line, Record
from connector_svc.platforms.feed.wire import MAX_VARIANTS

MAX_CELL: Final = 131_072
"""Characters: the csv module's own limit, which belongs to the whole process and so is left alone."""
_UNREADABLE: Final = "x" * (MAX_CELL + 1)
"""Stands for a line that is too long: refused by the csv module, also in the middle of a quoted cell."""
MAX_PRODUCT_BYTES: Final = MAX_LINE_BYTES
"""Of the rows of one product together; as of its line in NDJSON."""
_MEBIBYTES: Final = MAX_PRODUCT_BYTES // (1024 * 1024)
_UNREADABLE_ROW: Final = f"A cell is longer than {MAX_CELL} characters, or its row than {_MEBIBYTES} MiB."
_LARGE_PRODUCT: Final = f"The product has more than {MAX_VARIANTS:,} rows, or more than {_MEBIBYTES} MiB of them."


@dataclass(slots=True)
class _Group:
    id: str
    line: int
    rows: list[Sequence[str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    taken: int = 0
    size: int = 0
    """Bytes of its rows."""
    whole: bool = True


def csv_records(lines: Iterable[Line]) -> Iterator[Record]:
    """The records of `lines`, of which the first is the header. Raises BadHeader; never for what a row holds."""
    texts = _Texts(lines)
    reader = csv.reader(texts)
    columns = Columns.of(_header(reader))
    group: _Group | None = None
    tainted = False
    for line, row in _rows(reader, texts):
        if row is None:
            # Whose row it was nobody knows: both neighbours may have lost a variant.
            if group is not None:
                group.whole = False
                yield _closed(columns, group)
            group, tainted = None, True
            yield Record(line=line, faults=(_too_large(_UNREADABLE_ROW),))
            continue
        identifier = columns.id_of(row)
        if group is None or identifier != group.id or not identifier:
            if group is not None:
                yield _closed(columns, group)
            group = _Group(id=identifier, line=line, whole=not tainted)
            tainted = False
        _add(columns, group, row, texts.row_size)
    if group is not None:
        yield _closed(columns, group)


class _Texts:
    """Lines for the csv module, and how many bytes of them the current row has taken.

    A row may go over many lines; one that takes more than a product may have is refused like a line that long.
    """

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = iter(lines)
        self.row_size = 0

    def __iter__(self) -> _Texts:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.row_size += MAX_PRODUCT_BYTES + 1 if line.data is None else len(line.data)
        if line.data is None or self.row_size > MAX_PRODUCT_BYTES:
            return _UNREADABLE + "\n"
        return line.data.decode("utf-8", "surrogateescape") + "\n"


def _header(reader: Iterator[list[str]]) -> list[str]:
    try:
        return next(reader, [])
    except csv.Error:
        return []


def _rows(reader: Iterator[list[str]], texts: _Texts) -> Iterator[tuple[int, list[str] | None]]:
    """Rows that are not blank with the line they begin in; None for one that cannot be read."""
    line = reader.line_num + 1  # type: ignore[attr-defined]
    while True:
        texts.row_size = 0
        try:
            row: list[str] | None = next(reader)
        except StopIteration:
            return
        except csv.Error:
            row = None
        if row is None or any(row):
            yield line, row
        line = reader.line_num + 1  # type: ignore[attr-defined]


def _add(columns: Columns, group: _Group, row: Sequence[str], size: int) -> None:
    group.taken += 1
    group.size += size
    if group.size > MAX_PRODUCT_BYTES or group.taken > MAX_VARIANTS:
        # A part of a product is none: its rows are dropped, and only counted from here on.
        group.rows.clear()
        group.faults = [_too_large(_LARGE_PRODUCT)]
        return
    if len(row) == len(columns):
        group.rows.append(row)
        return
    group.whole = False
    message = f"A row has {len(row)} cells under a header of {len(columns)}."
    sample = ",".join(row)[:SAMPLE_LENGTH].encode("utf-8", "replace").decode()
    group.faults.append(Fault(reason=IssueReason.INVALID_FIELD, message=message, sample=sample))


def _closed(columns: Columns, group: _Group) -> Record:
    faults, text = tuple(group.faults), b""
    try:
        text = msgspec.json.encode(columns.product(group.rows)) if group.rows else b""
    except UnicodeEncodeError:
        faults = (*faults, Fault(reason=IssueReason.INVALID_FIELD, message="The row is not UTF-8."))
    identifier = group.id.encode("utf-8", "replace").decode()
    return Record(line=group.line, rows=group.taken, text=text, id=identifier, faults=faults, whole=group.whole)


def _too_large(message: str) -> Fault:
    return Fault(reason=IssueReason.TOO_LARGE, message=message)


MOST_OPTIONS: Final = 20
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
"""With the prefix "variant_"."""
REQUIRED_COLUMNS: Final = ("id", "title", "variant_id")
_YES: Final = frozenset({"true", "1", "yes"})


class BadHeader(Exception):
    """The first row does not name the columns that we need."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Columns:
    """Reads cells by the names of a header. Unknown columns are left alone."""

    def __init__(self, places: Mapping[str, int], width: int) -> None:
        self._places = places
        self._width = width
        self._options = [
            (places[f"option{n}_name"], places[f"option{n}_value"])
            for n in range(1, MOST_OPTIONS + 1)
            if {f"option{n}_name", f"option{n}_value"} <= places.keys()
        ]

    @classmethod
    def of(cls, header: Sequence[str]) -> Columns:
        """Raises BadHeader."""
        names = [name.strip().lower() for name in header]
        missing = [name for name in REQUIRED_COLUMNS if name not in names]
        if missing:
            raise BadHeader(f"its first row names no column {', '.join(missing)}")
        if len(set(names)) != len(names):
            raise BadHeader("its first row names a column twice")
        return cls({name: place for place, name in enumerate(names)}, len(names))

    def __len__(self) -> int:
        return self._width

    def id_of(self, row: Sequence[str]) -> str:
        """The product's id; empty when the row is too short or has none."""
        place = self._places["id"]
        return row[place] if place < len(row) else ""

    def product(self, rows: Sequence[Sequence[str]]) -> dict[str, Any]:
        """What `rows` say of one product; of the product's own columns the first row counts."""
        first = rows[0]
        product: dict[str, Any] = self._filled(first, "", PRODUCT_COLUMNS)
        if self._cell(first, "deleted").strip().lower() in _YES:
            return {**product, "deleted": True}
        # An empty title is a title; only an absent column is not.
        product["title"] = self._cell(first, "title")
        product["tags"] = [tag.strip() for tag in self._cell(first, "tags").split("|") if tag.strip()]
        product["images"] = [{"url": url} for url in self._cell(first, "image_urls").split()]
        product["variants"] = [variant for row in rows if (variant := self._variant(row))]
        return product

    def _variant(self, row: Sequence[str]) -> dict[str, Any]:
        variant = self._filled(row, "variant_", VARIANT_COLUMNS)
        options = [{"name": row[name], "value": row[value]} for name, value in self._options if row[name]]
        if options:
            variant["options"] = options
        url = self._cell(row, "variant_image_url").strip()
        if url:
            variant["image"] = {"url": url}
        return variant

    def _filled(self, row: Sequence[str], prefix: str, names: Sequence[str]) -> dict[str, Any]:
        cells = ((name, self._cell(row, prefix + name)) for name in names)
        return {name: cell for name, cell in cells if cell}

    def _cell(self, row: Sequence[str], name: str) -> str:
        place = self._places.get(name)
        return "" if place is None else row[place]
