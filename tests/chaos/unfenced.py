"""catalog_svc without the fence of its batches: the negative control, in which a run must find violations."""

from __future__ import annotations

import sys

from sqlalchemy import text

from catalog_svc.__main__ import main
from catalog_svc.storage import fence

_ALWAYS_TRUE = {
    "epoch = :epoch": "CAST(:epoch AS bigint) IS NOT NULL",
    "next_seq = :next_seq": "CAST(:next_seq AS bigint) IS NOT NULL",
}
"""The conditions of the fence, and replacements that every writer and every batch fulfils."""


def disable_fence() -> None:
    """Replace the conditions of the fence.

    Raises:
        RuntimeError: The fence has other conditions than expected, and would not be disabled.
    """
    statement = str(fence._FENCE)
    for condition, replacement in _ALWAYS_TRUE.items():
        if statement.count(condition) != 1:
            raise RuntimeError(f"the fence has no {condition!r}: update tests/chaos/unfenced.py")
        statement = statement.replace(condition, replacement)
    fence._FENCE = text(statement)


if __name__ == "__main__":
    disable_fence()
    sys.exit(main())
