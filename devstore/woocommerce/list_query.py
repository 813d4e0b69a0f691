"""The query parameters of a list: parsed, validated, and rejected as WordPress rejects them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from multidict import MultiMapping

from devstore.woocommerce.errors import InvalidValue, invalid_params
from devstore.woocommerce.json_fields import parse_date_bound

_TRUE = {"1", "true", "yes", "on"}
_STATUSES = ("any", "future", "trash", "draft", "pending", "private", "publish")
_TYPES = ("simple", "grouped", "external", "variable")
_PRODUCT_ORDERS = (
    "date", "id", "include", "title", "slug", "modified",
    "popularity", "rating", "popularity", "rating", "menu_order", "price", "popularity", "rating",
)  # fmt: skip
_VARIATION_ORDERS = ("date", "id", "include", "title", "slug", "modified", "menu_order")
_MAX_PAGE_SIZE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """A request for one page of a list. Times are seconds since the epoch and exclusive bounds."""

    page: int
    per_page: int
    offset: int
    """The index of the first row: the parameter `offset` if given, else derived from `page`."""
    descending: bool
    orderby: str
    status: str
    kind: str
    include: tuple[int, ...]
    exclude: tuple[int, ...]
    parent: tuple[int, ...]
    skus: tuple[str, ...]
    search: str
    modified_after: int | None
    modified_before: int | None
    created_after: int | None
    created_before: int | None
    edit: bool
    """Whether the request has context=edit."""

    @property
    def filters(self) -> tuple[object, ...]:
        """Everything that decides the rows and their order, but not the page."""
        return (
            self.descending, self.orderby, self.status, self.kind, self.include, self.exclude, self.parent,
            self.skus, self.search, self.modified_after, self.modified_before, self.created_after,
            self.created_before,
        )  # fmt: skip


def read_list_query(query: MultiMapping[str], *, variations: bool, parent: int | None = None) -> ListQuery:
    """Parse the parameters of a list.

    Args:
        query: The query parameters.
        variations: Whether the list is one of variations.
        parent: The product in the URL of a list of variations; it takes precedence over the parameter.

    Raises:
        RestError: Some parameters are invalid; the error names all of them, as the platform does.
    """
    reader = _ParamReader(query)
    page = reader.integer("page", 1, minimum=1)
    per_page = reader.integer("per_page", 10, minimum=1, maximum=_MAX_PAGE_SIZE)
    gmt = query.get("dates_are_gmt", "").lower() in _TRUE
    list_query = ListQuery(
        page=page,
        per_page=per_page,
        offset=reader.integer("offset", (page - 1) * per_page, minimum=0),
        descending=reader.choice("order", "desc", ("asc", "desc")) == "desc",
        orderby=reader.choice("orderby", "date", _VARIATION_ORDERS if variations else _PRODUCT_ORDERS),
        status=reader.choice("status", "any", _STATUSES),
        kind="" if variations else reader.choice("type", "", _TYPES),
        include=reader.ids("include"),
        exclude=reader.ids("exclude"),
        parent=reader.ids("parent") if parent is None else (parent,),
        skus=tuple(sku for sku in query.get("sku", "").split(",") if sku),
        search=query.get("search", ""),
        modified_after=reader.date("modified_after", gmt=gmt),
        modified_before=reader.date("modified_before", gmt=gmt),
        created_after=reader.date("after", gmt=gmt),
        created_before=reader.date("before", gmt=gmt),
        edit=reader.choice("context", "view", ("view", "edit")) == "edit",
    )
    if reader.invalid:
        raise invalid_params(reader.invalid)
    return list_query


def read_fields(query: MultiMapping[str]) -> frozenset[str] | None:
    """Return the names in `_fields` (comma-separated) or `_fields[]`; None when all fields are requested."""
    names = [name.strip() for text in values_of(query, "_fields") for name in text.split(",")]
    return frozenset(name for name in names if name) or None


def values_of(query: MultiMapping[str], name: str) -> list[str]:
    """Return the values of `name`, `name[]` and `name[0]`."""
    pattern = re.compile(rf"{re.escape(name)}(\[\d*\])?")
    return [value for key, value in query.items() if pattern.fullmatch(key)]


class _ParamReader:
    """Parses parameters and collects the invalid ones in `invalid`."""

    def __init__(self, query: MultiMapping[str]) -> None:
        self._query = query
        self.invalid: dict[str, InvalidValue] = {}

    def integer(self, name: str, default: int, *, minimum: int, maximum: int | None = None) -> int:
        text = self._query.get(name)
        if text is None:
            return default
        if not re.fullmatch(r"[+-]?\d+", text):
            message = f"{name} is not of type integer."
            self.invalid[name] = InvalidValue(code="rest_invalid_type", message=message, data={"param": name})
            return default
        value = int(text)
        if value < minimum or (maximum is not None and value > maximum):
            limits = f"greater than or equal to {minimum}"
            if maximum is not None:
                limits = f"between {minimum} (inclusive) and {maximum} (inclusive)"
            self.invalid[name] = InvalidValue(code="rest_out_of_bounds", message=f"{name} must be {limits}")
            return default
        return value

    def choice(self, name: str, default: str, allowed: Sequence[str]) -> str:
        text = self._query.get(name)
        if not text:
            return default
        if text not in allowed:
            *first, last = allowed
            separator = ", and " if len(allowed) > 2 else " and "
            message = f"{name} is not one of {', '.join(first)}{separator}{last}."
            self.invalid[name] = InvalidValue(code="rest_not_in_enum", message=message)
            return default
        return text

    def ids(self, name: str) -> tuple[int, ...]:
        texts = [text.strip() for value in values_of(self._query, name) for text in value.split(",")]
        for number, text in enumerate(texts):
            if text and not text.isdecimal():
                param = f"{name}[{number}]"
                message = f"{param} is not of type integer."
                self.invalid[name] = InvalidValue(code="rest_invalid_type", message=message, data={"param": param})
                return ()
        return tuple(int(text) for text in texts if text)

    def date(self, name: str, *, gmt: bool) -> int | None:
        text = self._query.get(name)
        if text is None:
            return None
        value = parse_date_bound(text, dates_are_gmt=gmt)
        if value is None:
            self.invalid[name] = InvalidValue(code="rest_invalid_date", message="Invalid date.")
        return value
