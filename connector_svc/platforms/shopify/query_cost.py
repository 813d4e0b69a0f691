"""Estimates the points that Shopify requests for a query, before the query is sent.

The rule is not documented; it was measured: a connection costs 2 + m(first) * (1 + children of one node), with
m(n) = max(1, floor(2 ln n)). An object costs 1 plus its children, a scalar nothing. The points that are charged in
the end cannot be estimated, since missing rows are refunded by a rule of their own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

_CONNECTION_COST = 2
_FREE_FIELDS = frozenset({"pageInfo", "measurement", "weight", "publicApiVersions"})
_ROOT_FIELD_COSTS = {
    "productsCount": 10,
    "productVariantsCount": 2,
    "bulkOperationRunQuery": 10,
    "bulkOperationCancel": 10,
    "webhookSubscriptionCreate": 11,
}
_TOKEN = re.compile(r'\.\.\.|\$?[A-Za-z_]\w*|-?\d+|"[^"]*"|[{}()]')


def multiplier(first: int) -> int:
    """Return m(n): how many nodes a page of n nodes pays for."""
    return max(1, math.floor(2 * math.log(first))) if first > 0 else 0


def requested_cost(text: str, variables: Mapping[str, object] | None = None) -> int:
    """Return the points that a query text requests; never below 1."""
    page_sizes = {name: value for name, value in (variables or {}).items() if isinstance(value, int)}
    roots = parse_selection(text)
    return max(1, sum(_ROOT_FIELD_COSTS.get(root.name, _field_cost(root, page_sizes)) for root in roots))


def _field_cost(field: SelectedField, page_sizes: Mapping[str, int]) -> int:
    if not field.children:
        return 0
    rows = [_row_fields(field.child(name)) for name in ("nodes", "edges") if field.child(name)]
    if not rows or field.name == "":
        own = 0 if field.name in _FREE_FIELDS else 1
        return own + _selection_cost(field.children, page_sizes)
    first = field.first if isinstance(field.first, int) else page_sizes.get(field.first or "", 1)
    return _CONNECTION_COST + sum(multiplier(first) * (1 + _selection_cost(row, page_sizes)) for row in rows)


def _selection_cost(fields: Iterable[SelectedField], page_sizes: Mapping[str, int]) -> int:
    """Return the cost of sibling fields; of the types of an abstract field, the most expensive is charged."""
    common = 0
    by_type: dict[str, int] = {}
    for field in fields:
        if field.name:
            common += _field_cost(field, page_sizes)
        else:
            by_type[field.on_type] = by_type.get(field.on_type, 0) + _selection_cost(field.children, page_sizes)
    return common + max(by_type.values(), default=0)


def _row_fields(field: SelectedField | None) -> tuple[SelectedField, ...]:
    """Return the fields that are selected of one row of `nodes` or `edges`."""
    if field is None or field.name == "nodes":
        return field.children if field else ()
    node = field.child("node")
    return node.children if node else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectedField:
    """A field of a query, or the fields of one type inside an abstract one."""

    name: str
    """Empty for the fields of one type."""
    on_type: str = ""
    first: int | str | None = None
    """The page size: a number, or the name of a variable."""
    children: tuple[SelectedField, ...] = ()

    def child(self, name: str) -> SelectedField | None:
        """Return the direct child of that name."""
        return next((field for field in self.children if field.name == name), None)


@cache
def parse_selection(text: str) -> tuple[SelectedField, ...]:
    """Return the root fields of a document with one operation, fragments expanded.

    No aliases, no directives, no field twice: our queries have none. Nested quotes must not contain braces.
    """
    return _QueryParser(text).roots()


class _QueryParser:
    def __init__(self, text: str) -> None:
        self._tokens: list[str] = _TOKEN.findall(text)
        self._index = 0
        self._fragments: dict[str, tuple[SelectedField, ...]] = {}

    def roots(self) -> tuple[SelectedField, ...]:
        roots: tuple[SelectedField, ...] = ()
        while self._index < len(self._tokens):
            kind, name = self._tokens[self._index : self._index + 2]
            fields = self._definition()
            if kind == "fragment":
                self._fragments[name] = fields
            else:
                roots = fields
        return tuple(_expand(roots, self._fragments))

    def _definition(self) -> tuple[SelectedField, ...]:
        while self._tokens[self._index] != "{":
            if self._tokens[self._index] == "(":
                self._page_size()
            else:
                self._index += 1
        return self._fields()

    def _fields(self) -> tuple[SelectedField, ...]:
        self._index += 1
        fields = []
        while self._tokens[self._index] != "}":
            fields.append(self._spread() if self._tokens[self._index] == "..." else self._field())
        self._index += 1
        return tuple(fields)

    def _spread(self) -> SelectedField:
        name = self._tokens[self._index + 1]
        self._index += 2
        if name != "on":
            return SelectedField(name="...", on_type=name)
        on_type = self._tokens[self._index]
        self._index += 1
        return SelectedField(name="", on_type=on_type, children=self._fields())

    def _field(self) -> SelectedField:
        name = self._tokens[self._index]
        self._index += 1
        first = self._page_size() if self._tokens[self._index] == "(" else None
        children = self._fields() if self._tokens[self._index] == "{" else ()
        return SelectedField(name=name, first=first, children=children)

    def _page_size(self) -> int | str | None:
        """Skip the arguments and return the value of `first`, if there is one."""
        end = self._tokens.index(")", self._index)
        arguments = self._tokens[self._index + 1 : end]
        self._index = end + 1
        if "first" not in arguments:
            return None
        value = arguments[arguments.index("first") + 1]
        return int(value) if value.isdigit() else value.removeprefix("$")


def _expand(
    fields: tuple[SelectedField, ...], fragments: Mapping[str, tuple[SelectedField, ...]]
) -> Iterator[SelectedField]:
    for field in fields:
        if field.name == "...":
            yield from _expand(fragments[field.on_type], fragments)
        else:
            yield SelectedField(
                name=field.name,
                on_type=field.on_type,
                first=field.first,
                children=tuple(_expand(field.children, fragments)),
            )
