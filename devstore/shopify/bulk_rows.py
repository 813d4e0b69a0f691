"""Runs a bulk query over the catalog, some products at a time."""

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
    StringValueNode,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    get_named_type,
    parse,
    visit,
)
from graphql.execution import execute_sync

from devstore.shopify.call import LARGEST_PAGE, LARGEST_PAGE_OF_ONE_PRODUCT, Call

_ROOTS = 10
_PAGING = {"first", "last", "after", "before"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A row, and the connections below it."""

    line: bytes
    children: tuple[tuple[Tree, ...], ...] = ()

    def size(self) -> int:
        """Rows of the tree."""
        return 1 + sum(tree.size() for rows in self.children for tree in rows)


@dataclass(slots=True, kw_only=True)
class BulkRows:
    """One run. `field_resolver` and `type_resolver` are those of the schema."""

    schema: GraphQLSchema
    text: str
    call: Call
    nested_limit: int | None
    field_resolver: Callable[..., Any]
    type_resolver: Callable[..., Any]

    def pages(self) -> Iterator[list[Tree]]:
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

    def _tree(self, node: dict[str, Any], parent: str) -> Tree:
        below = [value for value in node.values() if _is_connection(value)]
        own = {name: value for name, value in node.items() if not _is_connection(value)}
        line = msgspec.json.encode(own | ({"__parentId": parent} if parent else {}))
        return Tree(
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
            most = LARGEST_PAGE_OF_ONE_PRODUCT if kind == "ProductVariantConnection" else LARGEST_PAGE
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
