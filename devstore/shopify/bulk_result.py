"""In which order the rows of a result stand."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator

from devstore.shopify.bulk_query import ResultRow

_LATE = 0.2
"""The share of connections whose rows come at the very end of the file."""


def adjacent(trees: Iterable[ResultRow]) -> Iterator[bytes]:
    """Children behind their parents, as `groupObjects: true` gives them."""
    for tree in trees:
        yield tree.line
        for rows in tree.children:
            yield from adjacent(rows)


class InterleavedOrder:
    """What `groupObjects: false` allows: a child somewhere after its parent, each connection in its own order."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._late: list[deque[ResultRow]] = []

    def page(self, trees: Iterable[ResultRow]) -> Iterator[bytes]:
        """The rows of some root objects, mixed; some connections are kept for `rest`."""
        yield from self._mixed([deque(trees)], late=_LATE)

    def rest(self) -> Iterator[bytes]:
        """What was kept."""
        kept, self._late = self._late, []
        yield from self._mixed(kept, late=0.0)

    def _mixed(self, waiting: list[deque[ResultRow]], *, late: float) -> Iterator[bytes]:
        while waiting:
            place = self._dice.randrange(len(waiting))
            if not waiting[place]:
                waiting[place] = waiting[-1]
                waiting.pop()
                continue
            tree = waiting[place].popleft()
            yield tree.line
            for rows in filter(None, tree.children):
                keep = self._late if self._dice.random() < late else waiting
                keep.append(deque(rows))
