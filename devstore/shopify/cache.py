"""Caches: parsed query documents, and replies, so that a benchmark measures the reader and not this server."""

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

_CACHED_DOCUMENTS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A parsed and validated query."""

    text: str
    errors: tuple[GraphQLError, ...]
    """Syntax and validation errors; empty when the query may be executed."""
    tree: DocumentNode | None
    operations: Mapping[str, OperationDefinitionNode]
    fragments: Mapping[str, FragmentDefinitionNode]

    def operation(self, name: str | None) -> OperationDefinitionNode | None:
        """Return the operation to execute: the named one, or the only one; None when there is none."""
        if name:
            return self.operations.get(name)
        return next(iter(self.operations.values())) if len(self.operations) == 1 else None


class DocumentCache:
    """Caches the last 256 documents, since a client sends the same few queries repeatedly."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._cached: OrderedDict[str, Document] = OrderedDict()

    def read(self, text: str) -> Document:
        """Return the document of a query text."""
        document = self._cached.pop(text, None) or self._parse(text)
        self._cached[text] = document
        if len(self._cached) > _CACHED_DOCUMENTS:
            self._cached.popitem(last=False)
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


_OVERHEAD_BYTES = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedReply:
    """The result of a query, without the state of the rate limit."""

    data: msgspec.Raw
    """The encoded JSON of `data`."""
    errors: list[dict[str, Any]]
    warnings: list[dict[str, object]]
    points: int
    """The actual cost."""


class ReplyCache:
    """An LRU cache of replies, limited in bytes. The key must contain everything that a reply depends on."""

    def __init__(self, max_bytes: int) -> None:
        self._free_bytes = max_bytes
        self._cached: OrderedDict[Hashable, CachedReply] = OrderedDict()

    def get(self, key: Hashable, compute: Callable[[], CachedReply]) -> CachedReply:
        """Return the cached reply, or compute and cache it."""
        reply = self._cached.get(key)
        if reply is None:
            return self._add(key, compute())
        self._cached.move_to_end(key)
        return reply

    def _add(self, key: Hashable, reply: CachedReply) -> CachedReply:
        # An error may contain a new request id, so replies with errors are not cached.
        if not reply.errors:
            self._cached[key] = reply
            self._free_bytes -= _size(reply)
        while self._free_bytes < 0 and self._cached:
            _, oldest = self._cached.popitem(last=False)
            self._free_bytes += _size(oldest)
        return reply


def _size(reply: CachedReply) -> int:
    return _OVERHEAD_BYTES + len(memoryview(reply.data))
