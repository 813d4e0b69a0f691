"""Limits how long a migration waits for locks, and so how long later users of the tables wait behind it.

A statement that waits for the lock of a table makes every later user of that table wait behind it, and a
transaction keeps the locks that it has while it waits for the next one. So the waits of one transaction share a
budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, event

_CONCURRENTLY: Final = "CONCURRENTLY"
"""Such statements wait for all older transactions, but block no reader and no writer meanwhile."""


@contextmanager
def lock_budget(
    connection: Connection, budget: timedelta, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """Limit the waits for locks of each transaction of `connection` to `budget` after its begin.

    A statement that would wait longer fails with SQLSTATE 55P03. Without a wait a transaction may last longer: a
    lock that is free is taken at once.
    """
    began = clock()

    def begin(_: Connection) -> None:
        nonlocal began
        began = clock()

    def limit(_: Connection, cursor: Any, statement: str, *__: object) -> None:
        rest = budget.total_seconds() - (clock() - began)
        milliseconds = 0 if _CONCURRENTLY in statement.upper() else max(1, round(rest * 1000))
        cursor.execute(f"SET lock_timeout = {milliseconds}")

    listeners = (("begin", begin), ("before_cursor_execute", limit))
    for name, listener in listeners:
        event.listen(connection, name, listener)
    try:
        yield
    finally:
        for name, listener in listeners:
            event.remove(connection, name, listener)
