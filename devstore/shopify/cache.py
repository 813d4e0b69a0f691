"""Query texts, parsed and validated once each.

Answers that were worked out before, so that a benchmark measures its reader and not this server."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    parse,
    validate,
)

_KEPT = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A query text and what is wrong with it."""

    text: str
    errors: tuple[GraphQLError, ...]
    """Empty when the query may be executed."""
    tree: DocumentNode | None
    operations: Mapping[str, OperationDefinitionNode]
    fragments: Mapping[str, FragmentDefinitionNode]

    def operation(self, name: str | None) -> OperationDefinitionNode | None:
        """The operation to run: the named one, or the only one."""
        if name:
            return self.operations.get(name)
        return next(iter(self.operations.values())) if len(self.operations) == 1 else None


class DocumentCache:
    """Remembers the last 256 texts, since a client sends the same few queries again and again."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._kept: OrderedDict[str, Document] = OrderedDict()

    def read(self, text: str) -> Document:
        document = self._kept.pop(text, None) or self._parse(text)
        self._kept[text] = document
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return document

    def _parse(self, text: str) -> Document:
        try:
            tree = parse(text)
        except GraphQLError as error:
            return Document(text=text, errors=(error,), tree=None, operations={}, fragments={})
        definitions = tree.definitions
        return Document(
            text=text,
            errors=tuple(validate(self._schema, tree)),
            tree=tree,
            operations={
                d.name.value if d.name else "": d for d in definitions if isinstance(d, OperationDefinitionNode)
            },
            fragments={d.name.value: d for d in definitions if isinstance(d, FragmentDefinitionNode)},
        )


_SMALLEST = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedReply:
    """What a query gave, before the bucket's state is added."""

    data: msgspec.Raw
    """The JSON of `data`."""
    errors: list[dict[str, Any]]
    warnings: list[dict[str, object]]
    points: int
    """The actual cost."""


class ReplyCache:
    """Keeps the latest answers up to a number of bytes. The key must name everything an answer depends on."""

    def __init__(self, most_bytes: int) -> None:
        self._room = most_bytes
        self._kept: OrderedDict[Hashable, CachedReply] = OrderedDict()

    def get(self, key: Hashable, work_out: Callable[[], CachedReply]) -> CachedReply:
        answer = self._kept.get(key)
        if answer is None:
            return self._keep(key, work_out())
        self._kept.move_to_end(key)
        return answer

    def _keep(self, key: Hashable, answer: CachedReply) -> CachedReply:
        # An error may carry a fresh request id, so it is worked out anew each time.
        if not answer.errors:
            self._kept[key] = answer
            self._room -= _size(answer)
        while self._room < 0 and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self._room += _size(oldest)
        return answer


def _size(answer: CachedReply) -> int:
    return _SMALLEST + len(memoryview(answer.data))
