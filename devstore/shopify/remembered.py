"""Answers that were worked out before, so that a benchmark measures its reader and not this server."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import msgspec

_SMALLEST = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a query gave, before the bucket's state is added."""

    data: msgspec.Raw
    """The JSON of `data`."""
    errors: list[dict[str, Any]]
    warnings: list[dict[str, object]]
    points: int
    """The actual cost."""


class Remembered:
    """Keeps the latest answers up to a number of bytes. The key must name everything an answer depends on."""

    def __init__(self, most_bytes: int) -> None:
        self._room = most_bytes
        self._kept: OrderedDict[Hashable, Answer] = OrderedDict()

    def get(self, key: Hashable, work_out: Callable[[], Answer]) -> Answer:
        answer = self._kept.get(key)
        if answer is None:
            return self._keep(key, work_out())
        self._kept.move_to_end(key)
        return answer

    def _keep(self, key: Hashable, answer: Answer) -> Answer:
        # An error may carry a fresh request id, so it is worked out anew each time.
        if not answer.errors:
            self._kept[key] = answer
            self._room -= _size(answer)
        while self._room < 0 and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self._room += _size(oldest)
        return answer


def _size(answer: Answer) -> int:
    return _SMALLEST + len(memoryview(answer.data))
