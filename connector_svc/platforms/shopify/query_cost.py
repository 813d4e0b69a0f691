"""Foretells what Shopify asks for a query, before it is sent.

The rule is not documented; it was measured: a connection costs 2 + m(first) * (1 + one node's children), with
m(n) = max(1, floor(2 ln n)). An object costs 1 and its children, a scalar nothing. What is really charged cannot
be foretold, since absent rows are paid back by a rule of their own.


Reads the texts of our own queries as far as their cost needs: which fields, and how many of each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

_CONNECTION = 2
_FREE = frozenset({"pageInfo", "measurement", "weight", "publicApiVersions"})
_ROOTS = {"productsCount": 10, "productVariantsCount": 2, "bulkOperationRunQuery": 10, "bulkOperationCancel": 10}


def multiplier(first: int) -> int:
    """m(n): how many nodes a page of n nodes pays for."""
    return max(1, math.floor(2 * math.log(first))) if first > 0 else 0


def requested_cost(text: str, variables: Mapping[str, object] | None = None) -> int:
    """The points that a query text asks for; never below 1."""
    sizes = {name: value for name, value in (variables or {}).items() if isinstance(value, int)}
    roots = parse_selection(text)
    return max(1, sum(_ROOTS.get(root.name, _cost(root, sizes)) for root in roots))


def _cost(field: SelectedField, sizes: Mapping[str, int]) -> int:
    if not field.below:
        return 0
    rows = [_rows(field.child(name)) for name in ("nodes", "edges") if field.child(name)]
    if not rows or field.name == "":
        own = 0 if field.name in _FREE else 1
        return own + _together(field.below, sizes)
    first = field.first if isinstance(field.first, int) else sizes.get(field.first or "", 1)
    return _CONNECTION + sum(multiplier(first) * (1 + _together(row, sizes)) for row in rows)


def _together(fields: Iterable[SelectedField], sizes: Mapping[str, int]) -> int:
    """Of the types that an abstract one may be, the dearest is charged."""
    common = 0
    of_type: dict[str, int] = {}
    for field in fields:
        if field.name:
            common += _cost(field, sizes)
        else:
            of_type[field.on_type] = of_type.get(field.on_type, 0) + _together(field.below, sizes)
    return common + max(of_type.values(), default=0)


def _rows(field: SelectedField | None) -> tuple[SelectedField, ...]:
    """What is selected of one row of `nodes` or `edges`."""
    if field is None or field.name == "nodes":
        return field.below if field else ()
    node = field.child("node")
    return node.below if node else ()


_TOKEN = re.compile(r'\.\.\.|\$?[A-Za-z_]\w*|-?\d+|"[^"]*"|[{}()]')


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectedField:
    """A field, or the fields of one type inside an abstract one."""

    name: str
    """Empty for the fields of one type."""
    on_type: str = ""
    first: int | str | None = None
    """The page size that is asked for: a number, or the name of a variable."""
    below: tuple[SelectedField, ...] = ()

    def child(self, name: str) -> SelectedField | None:
        """The field of that name directly below."""
        return next((one for one in self.below if one.name == name), None)


@cache
def parse_selection(text: str) -> tuple[SelectedField, ...]:
    """The root fields of a document with one operation, fragments filled in.

    Knows what our queries use: no aliases, no directives, no field twice. Nested quotes must not hold braces.
    """
    return _Reader(text).roots()


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens: list[str] = _TOKEN.findall(text)
        self._at = 0
        self._fragments: dict[str, tuple[SelectedField, ...]] = {}

    def roots(self) -> tuple[SelectedField, ...]:
        roots: tuple[SelectedField, ...] = ()
        while self._at < len(self._tokens):
            kind, name = self._tokens[self._at : self._at + 2]
            fields = self._definition()
            if kind == "fragment":
                self._fragments[name] = fields
            else:
                roots = fields
        return tuple(_filled(roots, self._fragments))

    def _definition(self) -> tuple[SelectedField, ...]:
        while self._tokens[self._at] != "{":
            if self._tokens[self._at] == "(":
                self._arguments()
            else:
                self._at += 1
        return self._fields()

    def _fields(self) -> tuple[SelectedField, ...]:
        self._at += 1
        found = []
        while self._tokens[self._at] != "}":
            found.append(self._spread() if self._tokens[self._at] == "..." else self._field())
        self._at += 1
        return tuple(found)

    def _spread(self) -> SelectedField:
        name = self._tokens[self._at + 1]
        self._at += 2
        if name != "on":
            return SelectedField(name="...", on_type=name)
        on_type = self._tokens[self._at]
        self._at += 1
        return SelectedField(name="", on_type=on_type, below=self._fields())

    def _field(self) -> SelectedField:
        name = self._tokens[self._at]
        self._at += 1
        first = self._arguments() if self._tokens[self._at] == "(" else None
        below = self._fields() if self._tokens[self._at] == "{" else ()
        return SelectedField(name=name, first=first, below=below)

    def _arguments(self) -> int | str | None:
        end = self._tokens.index(")", self._at)
        arguments = self._tokens[self._at + 1 : end]
        self._at = end + 1
        if "first" not in arguments:
            return None
        value = arguments[arguments.index("first") + 1]
        return int(value) if value.isdigit() else value.removeprefix("$")


def _filled(
    fields: tuple[SelectedField, ...], fragments: Mapping[str, tuple[SelectedField, ...]]
) -> Iterator[SelectedField]:
    for field in fields:
        if field.name == "...":
            yield from _filled(fragments[field.on_type], fragments)
        else:
            below = tuple(_filled(field.below, fragments))
            yield SelectedField(name=field.name, on_type=field.on_type, first=field.first, below=below)
