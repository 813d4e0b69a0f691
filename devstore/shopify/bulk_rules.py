"""Which queries a bulk operation takes; the wording of the refusals is ours."""

from __future__ import annotations

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
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

MOST_CONNECTIONS = 5
DEEPEST = 2
"""Levels of connections below the root connection."""


def faults_of(schema: GraphQLSchema, text: str) -> list[str]:
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
