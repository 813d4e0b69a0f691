"""What calls of one kind to one store take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_SLOW_TIMES: Final = 2.0
"""The usual time, from which one counts as slow."""
_SLOW_AT_LEAST: Final = 0.05
"""Seconds above that which are no more than noise."""
_SAME_TIMES: Final = 1.25
_SAME_AT_LEAST: Final = 0.01
"""The same of one that counts as quick as one alone."""
_MOST_LARGER: Final = 4.0
"""How many times as long the answer to a call of the same kind may take for its size."""
_SMALL: Final = 4_096
"""Bytes below which the size of an answer says nothing."""
_NEWS: Final = 0.3
"""The weight of the latest call that was alone."""


@dataclass(slots=True)
class Usual:
    """Begins with the first answer, whoever was under way with it."""

    seconds: float
    size: int
    was_alone: bool = False
    """Whether a call that had the store for itself has told."""
    since: int = 0
    """Calls that began since one of them was alone."""

    def is_slow(self, took: float, size: int) -> bool:
        """Whether an answer of `size` took longer than the store needs."""
        return took > self._expected(size) * _SLOW_TIMES + _SLOW_AT_LEAST

    def is_as_alone(self, took: float, size: int) -> bool:
        """Whether the others that were under way cost it nothing, as far as can be told."""
        return not self.was_alone or took <= self._expected(size) * _SAME_TIMES + _SAME_AT_LEAST

    def alone(self, took: float, size: int) -> None:
        """Learns from a call that had the store for itself."""
        weight = _NEWS if self.was_alone else 1.0
        self.seconds += (took - self.seconds) * weight
        self.size += round((size - self.size) * weight)
        self.was_alone = True
        self.since = 0

    def in_company(self, took: float, size: int) -> None:
        """Learns from one of several: what was quicker than ever, for no less, shows what the store can do."""
        if took < self.seconds and size * 2 >= self.size:
            self.seconds, self.size = took, size

    def _expected(self, size: int) -> float:
        """At most, for an answer of `size`: what every call costs does not grow with it."""
        larger = max(size, _SMALL) / max(self.size, _SMALL)
        return self.seconds * min(max(1.0, larger), _MOST_LARGER)
