"""The query parameters of a collection: read, checked, and refused as WordPress refuses them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from multidict import MultiMapping

from devstore.woocommerce.errors import BadValue, invalid_params
from devstore.woocommerce.json_fields import bound

_TRUE = {"1", "true", "yes", "on"}
_STATUSES = ("any", "future", "trash", "draft", "pending", "private", "publish")
_TYPES = ("simple", "grouped", "external", "variable")
_PRODUCT_ORDERS = (
    "date", "id", "include", "title", "slug", "modified",
    "popularity", "rating", "popularity", "rating", "menu_order", "price", "popularity", "rating",
)  # fmt: skip
_VARIATION_ORDERS = ("date", "id", "include", "title", "slug", "modified", "menu_order")
_LARGEST_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """One page of one list, as it was asked for. Times are seconds since the epoch, compared strictly."""

    page: int
    per_page: int
    offset: int
    """The first row, from `offset` if given, else from `page`."""
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
    """context=edit."""

    @property
    def filters(self) -> tuple[object, ...]:
        """Everything that decides which rows there are and in which order, but not the page."""
        return (
            self.descending, self.orderby, self.status, self.kind, self.include, self.exclude, self.parent,
            self.skus, self.search, self.modified_after, self.modified_before, self.created_after,
            self.created_before,
        )  # fmt: skip


def read_list_query(query: MultiMapping[str], *, variations: bool, parent: int | None = None) -> ListQuery:
    """Checks all parameters before it refuses, as the platform names all bad ones in one error.

    `parent` is the product in the address of a list of variations; it wins over the parameter.
    """
    reader = _Reader(query)
    page = reader.integer("page", 1, least=1)
    per_page = reader.integer("per_page", 10, least=1, most=_LARGEST_PAGE)
    gmt = query.get("dates_are_gmt", "").lower() in _TRUE
    asked = ListQuery(
        page=page,
        per_page=per_page,
        offset=reader.integer("offset", (page - 1) * per_page, least=0),
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
    if reader.bad:
        raise invalid_params(reader.bad)
    return asked


def read_fields(query: MultiMapping[str]) -> frozenset[str] | None:
    """The names in `_fields`, as a comma list or `_fields[]`; None when all fields are wanted."""
    names = [name.strip() for text in listed(query, "_fields") for name in text.split(",")]
    return frozenset(name for name in names if name) or None


def listed(query: MultiMapping[str], name: str) -> list[str]:
    """The values of `name`, `name[]` and `name[0]`."""
    pattern = re.compile(rf"{re.escape(name)}(\[\d*\])?")
    return [value for key, value in query.items() if pattern.fullmatch(key)]


class _Reader:
    def __init__(self, query: MultiMapping[str]) -> None:
        self._query = query
        self.bad: dict[str, BadValue] = {}

    def integer(self, name: str, default: int, *, least: int, most: int | None = None) -> int:
        text = self._query.get(name)
        if text is None:
            return default
        if not re.fullmatch(r"[+-]?\d+", text):
            message = f"{name} is not of type integer."
            self.bad[name] = BadValue(code="rest_invalid_type", message=message, data={"param": name})
            return default
        value = int(text)
        if value < least or (most is not None and value > most):
            limits = f"greater than or equal to {least}"
            if most is not None:
                limits = f"between {least} (inclusive) and {most} (inclusive)"
            self.bad[name] = BadValue(code="rest_out_of_bounds", message=f"{name} must be {limits}")
            return default
        return value

    def choice(self, name: str, default: str, allowed: Sequence[str]) -> str:
        text = self._query.get(name)
        if not text:
            return default
        if text not in allowed:
            *most, last = allowed
            separator = ", and " if len(allowed) > 2 else " and "
            message = f"{name} is not one of {', '.join(most)}{separator}{last}."
            self.bad[name] = BadValue(code="rest_not_in_enum", message=message)
            return default
        return text

    def ids(self, name: str) -> tuple[int, ...]:
        texts = [text.strip() for value in listed(self._query, name) for text in value.split(",")]
        for number, text in enumerate(texts):
            if text and not text.isdecimal():
                place = f"{name}[{number}]"
                message = f"{place} is not of type integer."
                self.bad[name] = BadValue(code="rest_invalid_type", message=message, data={"param": place})
                return ()
        return tuple(int(text) for text in texts if text)

    def date(self, name: str, *, gmt: bool) -> int | None:
        text = self._query.get(name)
        if text is None:
            return None
        value = bound(text, dates_are_gmt=gmt)
        if value is None:
            self.bad[name] = BadValue(code="rest_invalid_date", message="Invalid date.")
        return value
