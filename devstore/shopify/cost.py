"""The cost rule measured from recorded replies: 2 + m(first) x (1 + children), m(n) = max(1, floor(2 ln n)).

A query is first turned into a tree of what costs; the same tree gives the requested cost (what was asked
for) and the actual cost (what came back).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SINGLE_QUERY_MAXIMUM = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One selected field that costs something itself or below itself."""

    key: str
    """The name in the reply."""
    own: int
    """What the field costs when it is there, without its children."""
    on_type: str = ""
    """The concrete type it was asked on inside an abstract one; "" when asked of all."""
    children: tuple[Charge, ...] = ()
    page: Page | None = None
    """Set for a connection; then `children` is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """How much a connection was asked for."""

    first: int
    lists: tuple[tuple[str, tuple[Charge, ...]], ...]
    """`nodes` and/or `edges`, each with the charges of one node. Asked for both, both are charged."""


def multiplier(count: int) -> int:
    """m(n): how often a connection of n nodes pays for one node."""
    return max(1, math.floor(2 * math.log(count))) if count > 0 else 0


def requested_cost(charges: Iterable[Charge]) -> int:
    """What a query may cost at most, and must be in the bucket; never below 1."""
    return max(1, _requested(charges))


def actual_cost(charges: Iterable[Charge], data: Mapping[str, Any] | None) -> int:
    """What the reply really cost: rows and objects that are not there are not paid for. Never below 1.

    The platform's own rule is not known; this is at most the requested cost, as in 2,969 recorded replies.
    """
    return max(1, _actual(charges, data)) if data is not None else 1


def _requested(charges: Iterable[Charge]) -> int:
    total = 0
    of_type: dict[str, int] = {}
    for charge in charges:
        cost = charge.own + _below(charge)
        if charge.on_type:
            of_type[charge.on_type] = of_type.get(charge.on_type, 0) + cost
        else:
            total += cost
    return total + max(of_type.values(), default=0)


def _below(charge: Charge) -> int:
    if charge.page is None:
        return _requested(charge.children)
    times = multiplier(charge.page.first)
    return sum(times * (1 + _requested(children)) for _, children in charge.page.lists)


def _actual(charges: Iterable[Charge], data: Mapping[str, Any]) -> int:
    return sum(_of_value(charge, data[charge.key]) for charge in charges if data.get(charge.key) is not None)


def _of_value(charge: Charge, value: Any) -> int:
    if charge.page is not None:
        return charge.own + sum(
            _of_nodes(children, value[name], name) for name, children in charge.page.lists if name in value
        )
    if isinstance(value, list):
        return charge.own + _dearest(charge.children, value)
    return charge.own + (_actual(charge.children, value) if charge.children else 0)


def _of_nodes(children: Sequence[Charge], rows: Sequence[Mapping[str, Any]], name: str) -> int:
    nodes = [row.get("node") for row in rows] if name == "edges" else rows
    return multiplier(len(rows)) * (1 + _dearest(children, nodes))


def _dearest(children: Sequence[Charge], nodes: Sequence[Mapping[str, Any] | None]) -> int:
    if not children:
        return 0
    return max((_actual(children, node) for node in nodes if node is not None), default=0)
