"""The result of a bulk operation: rows as a tree, and the orders in which a file lists them."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_DEFERRED_SHARE = 0.2
"""The share of connections whose rows come at the very end of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """A row, and the rows of the connections below it."""

    line: bytes
    children: tuple[tuple[ResultRow, ...], ...] = ()
    """One tuple of rows per connection."""


def grouped_order(rows: Iterable[ResultRow]) -> Iterator[bytes]:
    """Yield each row directly followed by its children, as with `groupObjects: true`."""
    for row in rows:
        yield row.line
        for children in row.children:
            yield from grouped_order(children)


class InterleavedOrder:
    """The order with `groupObjects: false`: a child anywhere after its parent; each connection keeps its order."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._deferred: list[deque[ResultRow]] = []

    def page(self, rows: Iterable[ResultRow]) -> Iterator[bytes]:
        """Yield some root objects and their descendants, interleaved; some connections are deferred to `rest`."""
        yield from self._interleave([deque(rows)], deferred_share=_DEFERRED_SHARE)

    def rest(self) -> Iterator[bytes]:
        """Yield the deferred rows."""
        deferred, self._deferred = self._deferred, []
        yield from self._interleave(deferred, deferred_share=0.0)

    def _interleave(self, pending: list[deque[ResultRow]], *, deferred_share: float) -> Iterator[bytes]:
        while pending:
            index = self._random.randrange(len(pending))
            if not pending[index]:
                pending[index] = pending[-1]
                pending.pop()
                continue
            row = pending[index].popleft()
            yield row.line
            for children in filter(None, row.children):
                target = self._deferred if self._random.random() < deferred_share else pending
                target.append(deque(children))
