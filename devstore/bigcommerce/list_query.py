"""The query parameters of a list: filters, page and fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from devstore.bigcommerce.errors import invalid_filters, invalid_value

T = TypeVar("T")

_PAGE_PARAMS = frozenset({"page", "limit", "include_fields", "exclude_fields"})
PRODUCT_FILTERS = _PAGE_PARAMS | {
    "include", "sort", "direction", "id:in", "id:greater", "id:less", "id:min", "date_modified:min",
    "date_modified:max",
}  # fmt: skip
VARIANT_FILTERS = _PAGE_PARAMS | {"product_id", "product_id:in"}
PRODUCT_VARIANT_FILTERS = _PAGE_PARAMS
BRAND_FILTERS = _PAGE_PARAMS | {"id:in"}
HOOK_FILTERS = frozenset({"page", "limit", "is_active", "scope", "destination"})
INVENTORY_FILTERS = frozenset({"page", "limit", "product_id:in", "variant_id:in"})
_MAX_PAGE_SIZE = 250
MAX_INVENTORY_PAGE_SIZE = 1_000
_MAX_PAGE_SIZE_WITH_OPTIONS = 10


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The query of one list. Unknown parameters and invalid values raise ApiError."""

    query: Mapping[str, str]
    supported: frozenset[str]
    """The supported parameters."""
    max_page_size: int = _MAX_PAGE_SIZE

    def __post_init__(self) -> None:
        unknown = [name for name in self.query if name not in self.supported]
        if unknown:
            raise invalid_filters(unknown)

    @property
    def include(self) -> frozenset[str]:
        return self._names("include")

    @property
    def limit(self) -> int:
        """The number of records per page."""
        maximum = _MAX_PAGE_SIZE_WITH_OPTIONS if self.include & {"options", "modifiers"} else self.max_page_size
        return min(max(self.number("limit", 50), 1), maximum)

    @property
    def page(self) -> int:
        return max(self.number("page", 1), 1)

    @property
    def descending(self) -> bool:
        return self.query.get("direction") == "desc"

    def page_of(self, found: Sequence[T]) -> Sequence[T]:
        """Return the part of `found` that is on the requested page."""
        start = (self.page - 1) * self.limit
        return found[start : start + self.limit]

    def number(self, name: str, default: int) -> int:
        """Return a parameter that is a non-negative integer."""
        text = self.query.get(name, str(default))
        if not text.isdecimal():
            raise invalid_value(name)
        return int(text)

    def ids(self, name: str) -> frozenset[int] | None:
        """Return a parameter that is a list of ids; None when it is not given."""
        if name not in self.query:
            return None
        parts = self.query[name].split(",")
        if not all(part.isdecimal() for part in parts):
            raise invalid_value(name)
        return frozenset(map(int, parts))

    def timestamp(self, name: str) -> int | None:
        """Return a parameter that is a date as seconds since the epoch; None when it is not given."""
        text = self.query.get(name)
        if text is None or text.isdecimal():
            return int(text) if text else None
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise invalid_value(name) from None
        return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())

    def select_fields(self, record: dict[str, object]) -> dict[str, object]:
        """Return `record` with the fields that include_fields and exclude_fields leave; the id always is one."""
        included, excluded = self._names("include_fields"), self._names("exclude_fields") - {"id"}
        if included:
            included |= {"id"} | self.include
        return {
            name: value
            for name, value in record.items()
            if (not included or name in included) and name not in excluded
        }

    def _names(self, name: str) -> frozenset[str]:
        return frozenset(part for part in self.query.get(name, "").split(",") if part)
