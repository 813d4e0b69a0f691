"""What a list is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from devstore.bigcommerce.errors import invalid_filters, invalid_value

T = TypeVar("T")

_PAGED = frozenset({"page", "limit", "include_fields", "exclude_fields"})
PRODUCT_FILTERS = _PAGED | {
    "include", "sort", "direction", "id:in", "id:greater", "id:less", "id:min", "date_modified:min",
    "date_modified:max",
}  # fmt: skip
VARIANT_FILTERS = _PAGED | {"product_id", "product_id:in"}
OWN_VARIANT_FILTERS = _PAGED
BRAND_FILTERS = _PAGED | {"id:in"}
INVENTORY_FILTERS = frozenset({"page", "limit", "product_id:in", "variant_id:in"})
_MOST = 250
MOST_ITEMS = 1_000
"""Of one page of the Inventory API."""
_MOST_WITH_OPTIONS = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """The query of one list."""

    query: Mapping[str, str]
    known: frozenset[str]
    most: int = _MOST
    """Records of one page."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.query if name not in self.known]
        if unknown:
            raise invalid_filters(unknown)

    @property
    def include(self) -> frozenset[str]:
        return self._names("include")

    @property
    def limit(self) -> int:
        most = _MOST_WITH_OPTIONS if self.include & {"options", "modifiers"} else self.most
        return min(max(self.number("limit", 50), 1), most)

    @property
    def page(self) -> int:
        return max(self.number("page", 1), 1)

    @property
    def descending(self) -> bool:
        return self.query.get("direction") == "desc"

    def page_of(self, found: Sequence[T]) -> Sequence[T]:
        """Those of `found` that lie on the page."""
        start = (self.page - 1) * self.limit
        return found[start : start + self.limit]

    def number(self, name: str, default: int) -> int:
        text = self.query.get(name, str(default))
        if not text.isdecimal():
            raise invalid_value(name)
        return int(text)

    def ids(self, name: str) -> frozenset[int] | None:
        """None: not asked."""
        if name not in self.query:
            return None
        parts = self.query[name].split(",")
        if not all(part.isdecimal() for part in parts):
            raise invalid_value(name)
        return frozenset(map(int, parts))

    def second(self, name: str) -> int | None:
        """A date as seconds since the epoch; None: not asked."""
        text = self.query.get(name)
        if text is None or text.isdecimal():
            return int(text) if text else None
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise invalid_value(name) from None
        return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())

    def only(self, record: dict[str, object]) -> dict[str, object]:
        """`record` with the fields that were asked for; the id always is."""
        kept, dropped = self._names("include_fields"), self._names("exclude_fields") - {"id"}
        if kept:
            kept |= {"id"} | self.include
        return {
            name: value for name, value in record.items() if (not kept or name in kept) and name not in dropped
        }

    def _names(self, name: str) -> frozenset[str]:
        return frozenset(part for part in self.query.get(name, "").split(",") if part)
