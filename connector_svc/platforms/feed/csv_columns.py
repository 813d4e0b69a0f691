"""The columns of a CSV feed, and the product that rows under them stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

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
