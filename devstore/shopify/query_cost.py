"""Query cost: 2 + m(first) x (1 + children), m(n) = max(1, floor(2 ln n)), measured from recorded replies.

A query is first turned into a tree of charges; the same tree gives the requested cost (of what was requested) and
the actual cost (of what the reply contains).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
)
from graphql.language import BooleanValueNode, ValueNode

SINGLE_QUERY_MAXIMUM = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A selected field that costs points itself or through its children."""

    key: str
    """The name in the reply."""
    own: int
    """The cost of the field without its children."""
    on_type: str = ""
    """The concrete type on which it was selected within an abstract type; "" when selected on all types."""
    children: tuple[Charge, ...] = ()
    page: PageCharge | None = None
    """Set for a connection; then `children` is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCharge:
    """The requested page of a connection."""

    first: int
    lists: tuple[tuple[str, tuple[Charge, ...]], ...]
    """`nodes` and/or `edges`, each with the charges of one node; if both are requested, both are charged."""


def multiplier(count: int) -> int:
    """Return m(n): the factor by which the cost of one node is multiplied in a connection of n nodes."""
    return max(1, math.floor(2 * math.log(count))) if count > 0 else 0


def requested_cost(charges: Iterable[Charge]) -> int:
    """Return the maximum cost of a query, which must be in the bucket; never below 1."""
    return max(1, _requested(charges))


def actual_cost(charges: Iterable[Charge], data: Mapping[str, Any] | None) -> int:
    """Return the actual cost of a reply, in which missing rows and objects cost nothing; never below 1.

    The platform's own rule is not known. This cost is at most the requested one, as in 2,969 recorded replies.
    """
    return max(1, _actual(charges, data)) if data is not None else 1


def _requested(charges: Iterable[Charge]) -> int:
    total = 0
    of_type: dict[str, int] = {}
    for charge in charges:
        cost = charge.own + _requested_below(charge)
        if charge.on_type:
            of_type[charge.on_type] = of_type.get(charge.on_type, 0) + cost
        else:
            total += cost
    return total + max(of_type.values(), default=0)


def _requested_below(charge: Charge) -> int:
    if charge.page is None:
        return _requested(charge.children)
    times = multiplier(charge.page.first)
    return sum(times * (1 + _requested(children)) for _, children in charge.page.lists)


def _actual(charges: Iterable[Charge], data: Mapping[str, Any]) -> int:
    return sum(
        _actual_of_value(charge, data[charge.key]) for charge in charges if data.get(charge.key) is not None
    )


def _actual_of_value(charge: Charge, value: Any) -> int:
    if charge.page is not None:
        return charge.own + sum(
            _actual_of_nodes(children, value[name], name) for name, children in charge.page.lists if name in value
        )
    if isinstance(value, list):
        return charge.own + _dearest(charge.children, value)
    return charge.own + (_actual(charge.children, value) if charge.children else 0)


def _actual_of_nodes(children: Sequence[Charge], rows: Sequence[Mapping[str, Any]], name: str) -> int:
    nodes = [row.get("node") for row in rows] if name == "edges" else rows
    return multiplier(len(rows)) * (1 + _dearest(children, nodes))


def _dearest(children: Sequence[Charge], nodes: Sequence[Mapping[str, Any] | None]) -> int:
    if not children:
        return 0
    return max((_actual(children, node) for node in nodes if node is not None), default=0)


# Measured: these objects cost nothing themselves.
_FREE_TYPES = {
    "MoneyV2", "MoneyBag", "InventoryItemMeasurement", "Weight", "PageInfo", "ApiVersion",
    "BulkOperation", "BulkOperationUserError", "UserError",
}  # fmt: skip
_ROOT_COUNT_COST = 10
_ROOT_FIELD_COSTS = {"productVariantsCount": 2, "bulkOperationRunQuery": 10, "bulkOperation": 1}
_MUTATION_COST = 10
_CONNECTION_COST = 2

SelectedFields = dict[tuple[str, str], tuple[FieldNode, GraphQLNamedType, list[SelectionSetNode]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeReader:
    """Reads the charges of one operation of a validated document, with its variables."""

    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    variables: Mapping[str, Any]
    operation: OperationDefinitionNode

    def read(self) -> tuple[Charge, ...]:
        """Return the charges of the operation's root fields."""
        root = self.schema.get_root_type(self.operation.operation)
        if root is None:
            return ()
        mutation = self.operation.operation is OperationType.MUTATION
        return tuple(
            self._charge(key, node, kind, sets, root=True, mutation=mutation)
            for (_, key), (node, kind, sets) in self._fields([self.operation.selection_set], root).items()
        )

    def _charge(
        self,
        key: str,
        node: FieldNode,
        kind: GraphQLNamedType,
        sets: list[SelectionSetNode],
        *,
        root: bool = False,
        mutation: bool = False,
        on_type: str = "",
    ) -> Charge:
        if isinstance(kind, GraphQLObjectType) and kind.name.endswith("Connection"):
            page = self._page(node, kind, sets)
            return Charge(key=key, own=_CONNECTION_COST, on_type=on_type, page=page)
        own = 0 if kind.name in _FREE_TYPES else 1
        if root:
            count = _ROOT_COUNT_COST if kind.name == "Count" else own
            own = _MUTATION_COST if mutation else _ROOT_FIELD_COSTS.get(node.name.value, count)
        return Charge(key=key, own=own, on_type=on_type, children=self._charges(sets, kind))

    def _charges(self, sets: Sequence[SelectionSetNode], kind: GraphQLNamedType) -> tuple[Charge, ...]:
        if not sets:
            return ()
        return tuple(
            self._charge(key, node, field_kind, below, on_type=on_type)
            for (on_type, key), (node, field_kind, below) in self._fields(sets, kind).items()
        )

    def _page(self, node: FieldNode, kind: GraphQLObjectType, sets: list[SelectionSetNode]) -> PageCharge:
        lists: list[tuple[str, tuple[Charge, ...]]] = []
        for (_, key), (field, row, below) in self._fields(sets, kind).items():
            if field.name.value == "nodes":
                lists.append((key, self._charges(below, row)))
            elif field.name.value == "edges":
                lists.append((key, self._charges_of_edge(below, row)))
        return PageCharge(first=self._page_size(node), lists=tuple(lists))

    def _charges_of_edge(self, sets: list[SelectionSetNode], edge: GraphQLNamedType) -> tuple[Charge, ...]:
        for node, kind, below in self._fields(sets, edge).values():
            if node.name.value == "node":
                return self._charges(below, kind)
        return ()

    def _page_size(self, node: FieldNode) -> int:
        for argument in node.arguments or ():
            if argument.name.value in ("first", "last"):
                value = self._value(argument.value)
                if isinstance(value, int):
                    return value
        return 1

    def _value(self, value: ValueNode) -> Any:
        if isinstance(value, IntValueNode):
            return int(value.value)
        if isinstance(value, BooleanValueNode):
            return value.value
        if not isinstance(value, VariableNode):
            return None
        name = value.name.value
        if name in self.variables:
            return self.variables[name]
        for definition in self.operation.variable_definitions or ():
            if definition.variable.name.value == name and definition.default_value:
                return self._value(definition.default_value)
        return None

    def _fields(self, sets: Sequence[SelectionSetNode], kind: GraphQLNamedType) -> SelectedFields:
        """Return the composite fields selected on `kind`, merged by reply name, with their selection sets."""
        found: SelectedFields = {}
        for on_type, parent, node in self._walk(sets, kind, ""):
            definition = parent.fields.get(node.name.value)
            if definition is None or node.selection_set is None:
                continue
            key = node.alias.value if node.alias else node.name.value
            entry = found.setdefault((on_type, key), (node, get_named_type(definition.type), []))
            entry[2].append(node.selection_set)
        return found

    def _walk(
        self, sets: Sequence[SelectionSetNode], kind: GraphQLNamedType, on_type: str
    ) -> Iterator[tuple[str, GraphQLObjectType | GraphQLInterfaceType, FieldNode]]:
        for selection in (selection for chosen in sets for selection in chosen.selections):
            if not self._included(selection):
                continue
            if isinstance(selection, FieldNode):
                if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
                    yield on_type, kind, selection
                continue
            fragment = self._fragment(selection)
            condition = fragment.type_condition
            inner = self.schema.type_map[condition.name.value] if condition else kind
            abstract = isinstance(kind, GraphQLInterfaceType | GraphQLUnionType)
            narrowed = inner.name if abstract and isinstance(inner, GraphQLObjectType) else on_type
            yield from self._walk([fragment.selection_set], inner, narrowed)

    def _fragment(self, selection: SelectionNode) -> InlineFragmentNode | FragmentDefinitionNode:
        if isinstance(selection, FragmentSpreadNode):
            return self.fragments[selection.name.value]
        assert isinstance(selection, InlineFragmentNode)
        return selection

    def _included(self, selection: SelectionNode) -> bool:
        for directive in selection.directives or ():
            condition = next(
                (self._value(a.value) for a in directive.arguments or () if a.name.value == "if"), None
            )
            if directive.name.value in ("skip", "include") and condition is (directive.name.value == "skip"):
                return False
        return True
