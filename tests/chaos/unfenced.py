"""catalog_svc with the fence of its batches switched off: what the chaos run must find fault with."""

from __future__ import annotations

import sys

from sqlalchemy import text

from catalog_svc.__main__ import main
from catalog_svc.storage import batches

_OPEN = {
    "epoch = :epoch": "CAST(:epoch AS bigint) IS NOT NULL",
    "next_seq = :next_seq": "CAST(:next_seq AS bigint) IS NOT NULL",
}
"""Conditions of the fence, and what holds for anybody and any batch."""


def switch_off() -> None:
    """Takes the fence out. Raises RuntimeError when it is not as it was, so that the control stays one."""
    statement = str(batches._FENCE)
    for condition, anything in _OPEN.items():
        if statement.count(condition) != 1:
            raise RuntimeError(f"the fence has no {condition!r}: tests/chaos/unfenced.py must follow it")
        statement = statement.replace(condition, anything)
    batches._FENCE = text(statement)


if __name__ == "__main__":
    switch_off()
    sys.exit(main())
