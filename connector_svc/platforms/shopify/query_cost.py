"""Foretells what Shopify asks for a query, before it is sent.

The rule is not documented; it was measured: a connection costs 2 + m(first) * (1 + one node's children), with
m(n) = max(1, floor(2 ln n)). An object costs 1 and its children, a scalar nothing. What is really charged cannot
be foretold, since absent rows are paid back by a rule of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from connector_svc.platforms.shopify.selection import Selected, selection_of

_CONNECTION = 2
_FREE = frozenset({"pageInfo", "measurement", "weight", "publicApiVersions"})
_ROOTS = {"productsCount": 10, "productVariantsCount": 2, "bulkOperationRunQuery": 10, "bulkOperationCancel": 10}


def multiplier(first: int) -> int:
    """m(n): how many nodes a page of n nodes pays for."""
    return max(1, math.floor(2 * math.log(first))) if first > 0 else 0


def requested_cost(text: str, variables: Mapping[str, object] | None = None) -> int:
    """The points that a query text asks for; never below 1."""
    sizes = {name: value for name, value in (variables or {}).items() if isinstance(value, int)}
    roots = selection_of(text)
    return max(1, sum(_ROOTS.get(root.name, _cost(root, sizes)) for root in roots))


def _cost(field: Selected, sizes: Mapping[str, int]) -> int:
    if not field.below:
        return 0
    rows = [_rows(field.child(name)) for name in ("nodes", "edges") if field.child(name)]
    if not rows or field.name == "":
        own = 0 if field.name in _FREE else 1
        return own + _together(field.below, sizes)
    first = field.first if isinstance(field.first, int) else sizes.get(field.first or "", 1)
    return _CONNECTION + sum(multiplier(first) * (1 + _together(row, sizes)) for row in rows)


def _together(fields: Iterable[Selected], sizes: Mapping[str, int]) -> int:
    """Of the types that an abstract one may be, the dearest is charged."""
    common = 0
    of_type: dict[str, int] = {}
    for field in fields:
        if field.name:
            common += _cost(field, sizes)
        else:
            of_type[field.on_type] = of_type.get(field.on_type, 0) + _together(field.below, sizes)
    return common + max(of_type.values(), default=0)


def _rows(field: Selected | None) -> tuple[Selected, ...]:
    """What is selected of one row of `nodes` or `edges`."""
    if field is None or field.name == "nodes":
        return field.below if field else ()
    node = field.child("node")
    return node.below if node else ()
