"""Which queries a bulk operation takes; the wording of the refusals is ours.

Runs a bulk query over the catalog, some products at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    IntValueNode,
    NameNode,
    OperationDefinitionNode,
    OperationType,
    StringValueNode,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    get_named_type,
    get_nullable_type,
    is_list_type,
    parse,
    validate,
    visit,
)
from graphql.execution import execute_sync

from devstore.shopify.context import MAX_PAGE_SIZE, MAX_PAGE_SIZE_OF_ONE_PRODUCT, RequestContext

MOST_CONNECTIONS = 5
DEEPEST = 2
"""Levels of connections below the root connection."""


def bulk_query_errors(schema: GraphQLSchema, text: str) -> list[str]:
    """Why the query cannot be run in bulk; empty when it can."""
    try:
        document = parse(text)
    except GraphQLError as error:
        return [f"Invalid bulk query: {error.message}"]
    errors = validate(schema, document)
    if errors:
        return [f"Invalid bulk query: {error.message}" for error in errors]
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if len(operations) != 1 or operations[0].operation is not OperationType.QUERY:
        return ["A bulk operation runs exactly one query."]
    if len(operations[0].selection_set.selections) != 1:
        return ["A bulk query has exactly one top-level field."]
    info = TypeInfo(schema)
    rules = _Rules(info)
    visit(document, TypeInfoVisitor(info, rules))
    return rules.told()


class _Rules(Visitor):
    """Walks a query; `faults` is filled on the way."""

    def __init__(self, info: TypeInfo) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.connections = 0
        self._info = info
        self._path: list[str] = []
        """"connection", "list" or "" for each field above."""

    def told(self) -> list[str]:
        """All that is wrong."""
        if not self.connections:
            return [*self.faults, "Bulk queries must contain at least one connection."]
        if self.connections > MOST_CONNECTIONS:
            return [*self.faults, f"Bulk queries cannot contain more than {MOST_CONNECTIONS} connections."]
        return self.faults

    def enter_field(self, node: FieldNode, *_: object) -> None:
        kind = self._kind()
        if not self._path and node.name.value in ("node", "nodes"):
            self.faults.append(f"The top-level field '{node.name.value}' cannot be used in a bulk query.")
        if kind == "connection":
            self._connection(node)
        self._path.append(kind)

    def leave_field(self, *_: object) -> None:
        self._path.pop()

    def _kind(self) -> str:
        kind = self._info.get_type()
        if str(get_named_type(kind)).endswith("Connection"):
            return "connection"
        parent = str(self._info.get_parent_type())
        listed = kind is not None and is_list_type(get_nullable_type(kind))
        return "list" if listed and not parent.endswith("Connection") else ""

    def _connection(self, node: FieldNode) -> None:
        self.connections += 1
        if self._path.count("connection") > DEEPEST:
            self.faults.append(f"Connections cannot be nested deeper than {DEEPEST} levels below the root.")
        if "list" in self._path:
            self.faults.append(f"The connection '{node.name.value}' is within a list field.")
        fields = _fields(node)
        if "nodes" in fields or "edges" not in fields:
            self.faults.append(f"The connection '{node.name.value}' must be read by edges and node, not by nodes.")
            return
        inner = _fields(fields["edges"]).get("node")
        if inner is not None and not _selects_id(inner):
            self.faults.append(f"The node of '{node.name.value}' must select its id, without an alias.")


def _fields(node: FieldNode) -> dict[str, FieldNode]:
    selections = node.selection_set.selections if node.selection_set else ()
    return {one.name.value: one for one in selections if isinstance(one, FieldNode)}


def _selects_id(node: FieldNode) -> bool:
    identifier = _fields(node).get("id")
    return identifier is not None and identifier.alias is None


_ROOTS = 10
_PAGING = {"first", "last", "after", "before"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """A row, and the connections below it."""

    line: bytes
    children: tuple[tuple[ResultRow, ...], ...] = ()

    def size(self) -> int:
        """Rows of the tree."""
        return 1 + sum(tree.size() for rows in self.children for tree in rows)


@dataclass(slots=True, kw_only=True)
class BulkQueryRunner:
    """One run. `field_resolver` and `type_resolver` are those of the schema."""

    schema: GraphQLSchema
    text: str
    call: RequestContext
    nested_limit: int | None
    field_resolver: Callable[..., Any]
    type_resolver: Callable[..., Any]

    def pages(self) -> Iterator[list[ResultRow]]:
        """The root objects with all that is below them. Raises GraphQLError."""
        document, after = parse(self.text), ""
        while True:
            connection = self._page(_sized(self.schema, document, after))
            yield [self._tree(edge["node"], "") for edge in connection["edges"]]
            last = connection["edges"][-1]["cursor"] if connection["edges"] else ""
            if len(connection["edges"]) < _ROOTS:
                return
            after = last

    def _page(self, document: DocumentNode) -> Any:
        result = execute_sync(
            self.schema,
            document,
            context_value=self.call,
            field_resolver=self.field_resolver,
            type_resolver=self.type_resolver,
        )
        if result.errors or result.data is None:
            raise result.errors[0] if result.errors else GraphQLError("no data")
        return next(iter(result.data.values()))

    def _tree(self, node: dict[str, Any], parent: str) -> ResultRow:
        below = [value for value in node.values() if _is_connection(value)]
        own = {name: value for name, value in node.items() if not _is_connection(value)}
        line = msgspec.json.encode(own | ({"__parentId": parent} if parent else {}))
        return ResultRow(
            line=line,
            children=tuple(
                tuple(self._tree(edge["node"], node["id"]) for edge in one["edges"][: self.nested_limit])
                for one in below
            ),
        )


def _is_connection(value: object) -> bool:
    return isinstance(value, dict) and "edges" in value


class _Sizes(Visitor):
    """Replaces what a query says of pages: `first` and cursors are ignored in bulk."""

    def __init__(self, info: TypeInfo, after: str) -> None:
        super().__init__()
        self._info = info
        self._after = after
        self._depth = 0

    def enter_field(self, node: FieldNode, *_: object) -> FieldNode | None:
        kind = str(get_named_type(self._info.get_type()))
        self._depth += 1
        if not kind.endswith("Connection"):
            return _with_cursor(node) if self._depth == 2 and node.name.value == "edges" else None
        kept = [one for one in node.arguments or () if one.name.value not in _PAGING]
        if self._depth == 1:
            kept.append(_argument("first", IntValueNode(value=str(_ROOTS))))
            if self._after:
                kept.append(_argument("after", StringValueNode(value=self._after)))
        else:
            most = MAX_PAGE_SIZE_OF_ONE_PRODUCT if kind == "ProductVariantConnection" else MAX_PAGE_SIZE
            kept.append(_argument("first", IntValueNode(value=str(most))))
        return _changed(node, arguments=tuple(kept))

    def leave_field(self, *_: object) -> None:
        self._depth -= 1


def _sized(schema: GraphQLSchema, document: DocumentNode, after: str) -> DocumentNode:
    info = TypeInfo(schema)
    sized: DocumentNode = visit(document, TypeInfoVisitor(info, _Sizes(info, after)))
    return sized


def _argument(name: str, value: IntValueNode | StringValueNode) -> ArgumentNode:
    return ArgumentNode(name=NameNode(value=name), value=value)


def _with_cursor(node: FieldNode) -> FieldNode:
    assert node.selection_set is not None
    cursor = FieldNode(name=NameNode(value="cursor"), arguments=(), directives=())
    kept = node.selection_set
    return _changed(node, selection_set=type(kept)(selections=(*kept.selections, cursor)))


def _changed(node: FieldNode, **changes: Any) -> FieldNode:
    fields = {
        name: getattr(node, name, None) for name in ("alias", "name", "arguments", "directives", "selection_set")
    }
    return FieldNode(**{**fields, **changes})
