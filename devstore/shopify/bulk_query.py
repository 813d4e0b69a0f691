"""Bulk queries: their validation, and their execution over the catalog, some products at a time."""

from __future__ import annotations

from collections.abc import Iterator
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

from devstore.shopify.bulk_result import ResultRow
from devstore.shopify.context import (
    MAX_PAGE_SIZE,
    MAX_PAGE_SIZE_OF_ONE_PRODUCT,
    RequestContext,
    resolve_default,
    resolve_type,
)

MAX_CONNECTIONS = 5
MAX_CONNECTION_DEPTH = 2
"""Levels of connections below the root connection."""


def bulk_query_errors(schema: GraphQLSchema, text: str) -> list[str]:
    """Return why a query cannot be run in bulk; empty when it can. The platform words these errors differently."""
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
    rules = _BulkRules(info)
    visit(document, TypeInfoVisitor(info, rules))
    return rules.errors()


class _BulkRules(Visitor):
    """Checks the fields of a query while it is visited."""

    def __init__(self, info: TypeInfo) -> None:
        super().__init__()
        self._errors: list[str] = []
        self._connections = 0
        self._info = info
        self._path: list[str] = []
        """"connection", "list" or "" for each field above."""

    def errors(self) -> list[str]:
        """Return all errors."""
        if not self._connections:
            return [*self._errors, "Bulk queries must contain at least one connection."]
        if self._connections > MAX_CONNECTIONS:
            return [*self._errors, f"Bulk queries cannot contain more than {MAX_CONNECTIONS} connections."]
        return self._errors

    def enter_field(self, node: FieldNode, *_: object) -> None:
        kind = self._kind()
        if not self._path and node.name.value in ("node", "nodes"):
            self._errors.append(f"The top-level field '{node.name.value}' cannot be used in a bulk query.")
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
        self._connections += 1
        if self._path.count("connection") > MAX_CONNECTION_DEPTH:
            self._errors.append(
                f"Connections cannot be nested deeper than {MAX_CONNECTION_DEPTH} levels below the root."
            )
        if "list" in self._path:
            self._errors.append(f"The connection '{node.name.value}' is within a list field.")
        fields = _fields(node)
        if "nodes" in fields or "edges" not in fields:
            self._errors.append(
                f"The connection '{node.name.value}' must be read by edges and node, not by nodes."
            )
            return
        inner = _fields(fields["edges"]).get("node")
        if inner is not None and not _selects_id(inner):
            self._errors.append(f"The node of '{node.name.value}' must select its id, without an alias.")


def _fields(node: FieldNode) -> dict[str, FieldNode]:
    selections = node.selection_set.selections if node.selection_set else ()
    return {one.name.value: one for one in selections if isinstance(one, FieldNode)}


def _selects_id(node: FieldNode) -> bool:
    identifier = _fields(node).get("id")
    return identifier is not None and identifier.alias is None


_ROOTS_PER_PAGE = 10
_PAGING_ARGUMENTS = {"first", "last", "after", "before"}


@dataclass(slots=True, kw_only=True)
class BulkQueryRunner:
    """Executes one bulk query over the catalog."""

    schema: GraphQLSchema
    text: str
    context: RequestContext
    nested_limit: int | None
    """BulkSwitches.nested_limit."""

    def pages(self) -> Iterator[list[ResultRow]]:
        """Yield the root objects with their descendants, ten root objects at a time.

        Raises:
            GraphQLError: The execution failed.
        """
        document, after = parse(self.text), ""
        while True:
            connection = self._page(_with_page_sizes(self.schema, document, after))
            yield [self._row(edge["node"], "") for edge in connection["edges"]]
            last = connection["edges"][-1]["cursor"] if connection["edges"] else ""
            if len(connection["edges"]) < _ROOTS_PER_PAGE:
                return
            after = last

    def _page(self, document: DocumentNode) -> Any:
        result = execute_sync(
            self.schema,
            document,
            context_value=self.context,
            field_resolver=resolve_default,
            type_resolver=resolve_type,
        )
        if result.errors or result.data is None:
            raise result.errors[0] if result.errors else GraphQLError("no data")
        return next(iter(result.data.values()))

    def _row(self, node: dict[str, Any], parent: str) -> ResultRow:
        connections = [value for value in node.values() if _is_connection(value)]
        fields = {name: value for name, value in node.items() if not _is_connection(value)}
        line = msgspec.json.encode(fields | ({"__parentId": parent} if parent else {}))
        return ResultRow(
            line=line,
            children=tuple(
                tuple(self._row(edge["node"], node["id"]) for edge in one["edges"][: self.nested_limit])
                for one in connections
            ),
        )


def _is_connection(value: object) -> bool:
    return isinstance(value, dict) and "edges" in value


class _PageSizes(Visitor):
    """Replaces the paging arguments of a query, since `first` and cursors are ignored in bulk."""

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
        arguments = [one for one in node.arguments or () if one.name.value not in _PAGING_ARGUMENTS]
        if self._depth == 1:
            arguments.append(_argument("first", IntValueNode(value=str(_ROOTS_PER_PAGE))))
            if self._after:
                arguments.append(_argument("after", StringValueNode(value=self._after)))
        else:
            maximum = MAX_PAGE_SIZE_OF_ONE_PRODUCT if kind == "ProductVariantConnection" else MAX_PAGE_SIZE
            arguments.append(_argument("first", IntValueNode(value=str(maximum))))
        return _changed(node, arguments=tuple(arguments))

    def leave_field(self, *_: object) -> None:
        self._depth -= 1


def _with_page_sizes(schema: GraphQLSchema, document: DocumentNode, after: str) -> DocumentNode:
    info = TypeInfo(schema)
    changed: DocumentNode = visit(document, TypeInfoVisitor(info, _PageSizes(info, after)))
    return changed


def _argument(name: str, value: IntValueNode | StringValueNode) -> ArgumentNode:
    return ArgumentNode(name=NameNode(value=name), value=value)


def _with_cursor(node: FieldNode) -> FieldNode:
    assert node.selection_set is not None
    cursor = FieldNode(name=NameNode(value="cursor"), arguments=(), directives=())
    selected = node.selection_set
    return _changed(node, selection_set=type(selected)(selections=(*selected.selections, cursor)))


def _changed(node: FieldNode, **changes: Any) -> FieldNode:
    fields = {
        name: getattr(node, name, None) for name in ("alias", "name", "arguments", "directives", "selection_set")
    }
    return FieldNode(**{**fields, **changes})
