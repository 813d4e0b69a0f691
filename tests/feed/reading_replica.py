"""catalog_svc without its workers: `python -m tests.feed.reading_replica`.

The writers of the gap experiment use the queues of syncs and of refreshes themselves. A worker of the replica
would claim what they have put there, and find no connector.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from catalogsync_common.supervisor import Loop

from catalog_svc import bootstrap
from catalog_svc.__main__ import main

_WORKERS: Final = frozenset({"worker", "refresh_worker"})


def leave_out_workers() -> None:
    """Leave the workers out of the loops of a replica."""
    all_loops = bootstrap._loops

    def without_workers(*arguments: Any) -> tuple[Loop, ...]:
        loops = all_loops(*arguments)
        left = tuple(loop for loop in loops if loop.name not in _WORKERS)
        if len(loops) - len(left) != len(_WORKERS):
            raise RuntimeError("the workers have other names: update tests/feed/reading_replica.py")
        return left

    bootstrap.__dict__["_loops"] = without_workers


if __name__ == "__main__":
    leave_out_workers()
    sys.exit(main())
