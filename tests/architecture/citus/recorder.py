"""Records what a service executes, by transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, TypeVar, cast

from sqlalchemy import Connection, TextClause, event
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.architecture.citus.rules import CheckedStatement, check
from tests.architecture.citus.sql_tree import SHOP_TABLES

S = TypeVar("S")
LOCKED_TABLES: Final = frozenset({"product", "item"})
"""The catalog of a shop: its rows are written under the shop's write lock only."""
checked = cache(check)


@dataclass(frozen=True, slots=True)
class Executed:
    """One execution of a statement."""

    statement: TextClause | None
    """None: it was not made by `text`."""
    sql: str
    """As PostgreSQL got it, with numbered parameters."""
    parameters: Sequence[Any]

    @property
    def checked(self) -> CheckedStatement:
        """The checked statement."""
        return checked(self.sql)

    @property
    def shops(self) -> frozenset[object]:
        """The ids of the shops to which the tables of shops are bound."""
        return frozenset(self.parameters[number - 1] for number in self.checked.shop_parameters)

    @property
    def written(self) -> frozenset[str]:
        """Tables of shops that it writes."""
        return self.checked.tables.written & SHOP_TABLES


@dataclass(slots=True)
class Transaction:
    """The statements between BEGIN and the end."""

    step: str
    """What the scenario was doing."""
    executed: list[Executed] = field(default_factory=list)

    @property
    def written(self) -> frozenset[str]:
        """Tables of shops that it writes."""
        return frozenset().union(*(one.written for one in self.executed))

    @property
    def named(self) -> frozenset[str]:
        """All tables that it reads or writes."""
        return frozenset().union(*(one.checked.tables.named for one in self.executed))

    @property
    def shops(self) -> frozenset[object]:
        """The ids of the shops whose rows it touches."""
        return frozenset().union(*(one.shops for one in self.executed))

    @property
    def touched_before_lock(self) -> frozenset[str]:
        """Tables of a shop that it writes before it locks or creates the shop's row in `shop_state`.

        A writer of the catalog must not read the catalog before that either.
        """
        touched: frozenset[str] = frozenset()
        for one in self.executed:
            tables = one.checked.tables
            if "shop_state" in tables.written | tables.locked:
                break
            touched |= one.written
            if self.written & LOCKED_TABLES:
                touched |= tables.named & LOCKED_TABLES
        return touched


class Recorder:
    """Statements and transactions of engines."""

    def __init__(self) -> None:
        self.transactions: list[Transaction] = []
        self.called: set[str] = set()
        """Methods of observed stores that were called, as "Store.method"."""
        self._step = ""
        self._open: dict[Connection, Transaction] = {}

    def attach(self, engine: AsyncEngine) -> None:
        """Record what the engine executes from now on."""
        for name, listener in (("begin", self._begin), ("commit", self._end), ("rollback", self._end)):
            event.listen(engine.sync_engine, name, listener)
        event.listen(engine.sync_engine, "before_cursor_execute", self._execute)

    def observed(self, store: S) -> S:
        """Return the store; each call of it is a step. Calls must not overlap."""
        return cast("S", _Observed(store, self))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Name what is done within."""
        self.called.add(name)
        before, self._step = self._step, name
        try:
            yield
        finally:
            self._step = before

    @property
    def executed(self) -> list[Executed]:
        """All executions, in order of their transactions."""
        return [one for transaction in self.transactions for one in transaction.executed]

    def _begin(self, connection: Connection) -> None:
        self._open[connection] = Transaction(self._step)
        self.transactions.append(self._open[connection])

    def _end(self, connection: Connection) -> None:
        self._open.pop(connection, None)

    def _execute(
        self,
        connection: Connection,
        _cursor: object,
        sql: str,
        parameters: Sequence[Any],
        context: ExecutionContext,
        _executemany: bool,
    ) -> None:
        statement = context.invoked_statement
        self._open[connection].executed.append(
            Executed(statement if isinstance(statement, TextClause) else None, sql, parameters)
        )


class _Observed:
    def __init__(self, store: object, recorder: Recorder) -> None:
        self._store = store
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def call(*positional: Any, **named: Any) -> Any:
            with self._recorder.step(f"{type(self._store).__name__}.{name}"):
                return await method(*positional, **named)

        return call
