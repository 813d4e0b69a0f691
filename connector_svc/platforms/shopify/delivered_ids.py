"""The ids of the products that a pass has delivered: exact in the running stream, a sketch in its checkpoint.

The sketch is an invertible Bloom lookup table (Goodrich and Mitzenmacher, https://arxiv.org/abs/1101.2245): 255
cells, whatever the number of ids; each id is added to three of them. Subtracting the ids that Shopify lists leaves
the difference, and a cell that holds a single id reveals it. That works for up to about 150 differences; with more
of them the pass must be read from the beginning.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from hashlib import blake2b

_HASHES = 3
_CELLS_PER_HASH = 85
_CELLS = _HASHES * _CELLS_PER_HASH
SKETCH_BYTES = _CELLS * (4 + 8 + 8)


class IdSketch:
    """A multiset of ids from which a small difference to another one can be recovered."""

    def __init__(self, packed: bytes = b"") -> None:
        packed = packed or bytes(SKETCH_BYTES)
        self._counts = array("i", packed[: _CELLS * 4])
        self._ids = array("Q", packed[_CELLS * 4 : _CELLS * 12])
        self._checksums = array("Q", packed[_CELLS * 12 :])

    def packed(self) -> bytes:
        """Return the sketch as `SKETCH_BYTES` bytes for a checkpoint."""
        return self._counts.tobytes() + self._ids.tobytes() + self._checksums.tobytes()

    def add(self, product_id: int, times: int = 1) -> None:
        """Add an id, or subtract it with `times=-1`."""
        checksum, cells = _hash(product_id)
        for cell in cells:
            self._counts[cell] += times
            self._ids[cell] ^= product_id
            self._checksums[cell] ^= checksum

    def subtracted_only(self) -> list[int] | None:
        """Return the ids that were subtracted and never added; None: the difference is too large to recover.

        Empties the sketch.
        """
        found: list[int] = []
        queue = list(range(_CELLS))
        while queue:
            cell = queue.pop()
            product_id, times = self._ids[cell], self._counts[cell]
            if times not in (1, -1) or _hash(product_id)[0] != self._checksums[cell]:
                continue
            if times < 0:
                found.append(product_id)
            self.add(product_id, -times)
            queue += _hash(product_id)[1]
        return None if any(self._counts) or any(self._ids) else found


def _hash(product_id: int) -> tuple[int, Sequence[int]]:
    """Return the checksum and the cells of an id."""
    digest = blake2b(product_id.to_bytes(8, "big"), digest_size=8 + 2 * _HASHES).digest()
    parts = (int.from_bytes(digest[8 + 2 * n : 10 + 2 * n], "big") for n in range(_HASHES))
    cells = [n * _CELLS_PER_HASH + part % _CELLS_PER_HASH for n, part in enumerate(parts)]
    return int.from_bytes(digest[:8], "big"), cells


class DeliveredIds:
    """The ids delivered by a pass; `packed` and `last_id` are those of the checkpoint from which it is resumed."""

    def __init__(self, packed: bytes, last_id: int) -> None:
        self._resumed_sketch = packed
        self._resumed_last_id = last_id
        self._sketch = IdSketch(packed)
        self._ascending = array("Q")
        """Delivered by this stream, in id order."""
        self._out_of_order: set[int] = set()
        """Delivered by this stream out of order: few."""

    def add(self, product_id: int) -> None:
        """Add a delivered product."""
        self._sketch.add(product_id)
        if not self._ascending or product_id > self._ascending[-1]:
            self._ascending.append(product_id)
        else:
            self._out_of_order.add(product_id)

    def packed(self) -> bytes:
        """Return the sketch for a checkpoint."""
        return self._sketch.packed()

    def missing(self, listed: Iterable[int]) -> list[int] | None:
        """Return the listed ids that were never delivered; None: too much has changed to recover them.

        Takes seconds for a million ids: call it in a thread.
        """
        not_in_stream = [product_id for product_id in listed if not self._is_in_stream(product_id)]
        if not self._resumed_last_id:
            return not_in_stream
        sketch = IdSketch(self._resumed_sketch)
        for product_id in not_in_stream:
            if product_id <= self._resumed_last_id:
                sketch.add(product_id, -1)
        missing_before_resume = sketch.subtracted_only()
        if missing_before_resume is None:
            return None
        missing_after = [product_id for product_id in not_in_stream if product_id > self._resumed_last_id]
        return sorted(missing_before_resume) + missing_after

    def _is_in_stream(self, product_id: int) -> bool:
        index = bisect_left(self._ascending, product_id)
        is_ascending = index < len(self._ascending) and self._ascending[index] == product_id
        return is_ascending or product_id in self._out_of_order
