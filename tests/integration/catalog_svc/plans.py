"""Records the statements that a store executes, and explains how many rows each of them reads."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import asyncpg
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with its parameters, as the driver gets them."""

    sql: str
    parameters: Sequence[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What PostgreSQL did for a statement."""

    statement: Statement
    rows_read: int
    """Rows of tables and entries of indexes that it looked at, those that a filter removed included."""
    full_scans: tuple[str, ...]
    """Tables with rows that it read from their beginning, without an index."""
    text: str


@contextmanager
def recorded(engine: AsyncEngine) -> Iterator[list[Statement]]:
    """Record the queries that connections of the engine execute while the context lasts."""
    statements: list[Statement] = []

    def record(_connection: Any, _cursor: Any, sql: str, parameters: Sequence[Any], *_: Any) -> None:
        if sql.lstrip().startswith(("SELECT", "WITH")) and "set_config" not in sql:
            statements.append(Statement(sql, parameters))

    event.listen(engine.sync_engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", record)


async def explain(engine: AsyncEngine, statement: Statement) -> Plan:
    """Execute the statement again and return its plan."""
    async with _driver(engine) as driver:
        output = await driver.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.sql}", *statement.parameters)
    nodes = list(_nodes(output[0]["Plan"]))
    return Plan(
        statement=statement,
        rows_read=round(sum(map(_rows_read, nodes))),
        full_scans=tuple(
            node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan" and _rows_read(node)
        ),
        text=json.dumps(output),
    )


@asynccontextmanager
async def _driver(engine: AsyncEngine) -> AsyncIterator[asyncpg.Connection]:
    async with engine.connect() as connection:
        yield cast("asyncpg.Connection", (await connection.get_raw_connection()).driver_connection)


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _rows_read(node: Mapping[str, Any]) -> float:
    if "Relation Name" not in node and node["Node Type"] != "Bitmap Index Scan":
        return 0
    removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck", "Rows Removed by Join Filter")
    return float(node["Actual Loops"] * (node["Actual Rows"] + sum(node.get(name, 0) for name in removed)))
