"""Which products a pass has delivered: id by id in the running stream, and as a sketch in its checkpoint.

The sketch is an invertible Bloom lookup table: 255 cells, whatever the number of ids; each id is added to three of
them. Taking away the ids that the platform lists leaves the difference, and a cell with a single id tells which.
That works for up to about 150 differences; beyond them the pass must be read anew.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from hashlib import blake2b

_HASHES = 3
_THIRD = 85
_CELLS = _HASHES * _THIRD
SKETCH_BYTES = _CELLS * (4 + 8 + 8)


class IdSketch:
    """A multiset of ids, of which a small difference to another one can be told."""

    def __init__(self, packed: bytes = b"") -> None:
        packed = packed or bytes(SKETCH_BYTES)
        self._counts = array("i", packed[: _CELLS * 4])
        self._ids = array("Q", packed[_CELLS * 4 : _CELLS * 12])
        self._checks = array("Q", packed[_CELLS * 12 :])

    def packed(self) -> bytes:
        """For a checkpoint."""
        return self._counts.tobytes() + self._ids.tobytes() + self._checks.tobytes()

    def add(self, number: int, times: int = 1) -> None:
        """Adds an id, or with -1 takes it away."""
        check, cells = _places(number)
        for cell in cells:
            self._counts[cell] += times
            self._ids[cell] ^= number
            self._checks[cell] ^= check

    def taken_too_often(self) -> list[int] | None:
        """The ids that were taken away and never added; None: the difference is too large to tell.

        Empties the sketch.
        """
        found: list[int] = []
        waiting = list(range(_CELLS))
        while waiting:
            cell = waiting.pop()
            number, times = self._ids[cell], self._counts[cell]
            if times not in (1, -1) or _places(number)[0] != self._checks[cell]:
                continue
            if times < 0:
                found.append(number)
            self.add(number, -times)
            waiting += _places(number)[1]
        return None if any(self._counts) or any(self._ids) else found


def _places(number: int) -> tuple[int, Sequence[int]]:
    """A check sum, and the cells of an id."""
    digest = blake2b(number.to_bytes(8, "big"), digest_size=8 + 2 * _HASHES).digest()
    parts = (int.from_bytes(digest[8 + 2 * n : 10 + 2 * n], "big") for n in range(_HASHES))
    return int.from_bytes(digest[:8], "big"), [n * _THIRD + part % _THIRD for n, part in enumerate(parts)]


class DeliveredIds:
    """The ids of a pass; `packed` and `last_id` are those of the checkpoint that it goes on from."""

    def __init__(self, packed: bytes, last_id: int) -> None:
        self._before = packed
        self._before_id = last_id
        self._all = IdSketch(packed)
        self._here = array("Q")
        """By this stream, ascending."""
        self._late: set[int] = set()
        """The same out of order: few."""

    def add(self, number: int) -> None:
        """Notes a product."""
        self._all.add(number)
        if not self._here or number > self._here[-1]:
            self._here.append(number)
        else:
            self._late.add(number)

    def packed(self) -> bytes:
        """What a checkpoint keeps."""
        return self._all.packed()

    def missing(self, listed: Iterable[int]) -> list[int] | None:
        """Those of the listed ids that were never delivered; None: too much has changed to tell.

        Takes seconds for a million ids: call it in a thread.
        """
        not_here = [number for number in listed if not self._is_here(number)]
        if not self._before_id:
            return not_here
        sketch = IdSketch(self._before)
        for number in not_here:
            if number <= self._before_id:
                sketch.add(number, -1)
        earlier = sketch.taken_too_often()
        if earlier is None:
            return None
        return sorted(earlier) + [number for number in not_here if number > self._before_id]

    def _is_here(self, number: int) -> bool:
        at = bisect_left(self._here, number)
        return (at < len(self._here) and self._here[at] == number) or number in self._late
