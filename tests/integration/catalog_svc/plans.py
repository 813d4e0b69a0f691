"""Records the statements that a store executes, and explains how many rows each of them reads.

They are explained as they run in production: with the role of the service, under row-level security, and with the
statements within functions, which EXPLAIN does not show. PostgreSQL's module auto_explain reports all of them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.storage.embedded import SERVICE_ROLE
from catalog_svc.storage.tenant import visible_shops
from tests.conftest import superuser_url

_REPORT_PLANS: Final = """
    LOAD 'auto_explain';
    SET LOCAL auto_explain.log_min_duration = 0;
    SET LOCAL auto_explain.log_analyze = on;
    SET LOCAL auto_explain.log_nested_statements = on;
    SET LOCAL auto_explain.log_format = json;
    SET LOCAL auto_explain.log_level = notice;
    SET LOCAL plan_cache_mode = force_custom_plan"""


_ONE_ROW: Final = "change_feed"
"""A table that has one row."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with its parameters, as the driver gets them."""

    sql: str
    parameters: Sequence[Any]
    visible_shops: str
    """The shops that its transaction saw."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What PostgreSQL did for a statement."""

    statement: Statement
    rows_read: int
    """Rows of tables and entries of indexes that it looked at, those that a filter removed included."""
    full_scans: tuple[str, ...]
    """Tables with rows that it read from their beginning, without an index; except the one with a single row."""
    text: str


@contextmanager
def recorded(engine: AsyncEngine) -> Iterator[list[Statement]]:
    """Record the queries that connections of the engine execute while the context lasts."""
    statements: list[Statement] = []

    def record(connection: Connection, _cursor: Any, sql: str, parameters: Sequence[Any], *_: Any) -> None:
        if sql.lstrip().startswith(("SELECT", "WITH")):
            statements.append(Statement(sql, parameters, visible_shops(connection)))

    event.listen(engine.sync_engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", record)


async def explain(engine: AsyncEngine, statement: Statement) -> Plan:
    """Execute the statement again and return its plan, together with those of the statements in its functions.

    Args:
        engine: Any connections to the database.
        statement: The statement.
    """
    driver = await asyncpg.connect(superuser_url(engine))
    reports: list[str] = []
    try:
        driver.add_log_listener(lambda _, message: reports.append(message.message))
        # What the statement changes is undone.
        await driver.execute(f"BEGIN; {_REPORT_PLANS}; SET LOCAL ROLE {SERVICE_ROLE}")
        await driver.execute(f"SET LOCAL catalog.shop_ids = '{statement.visible_shops}'")
        # The driver's own queries about types come before.
        prepared = await driver.prepare(statement.sql)
        reports.clear()
        await prepared.fetch(*statement.parameters)
        # A plan is reported when its portal is closed. The driver calls listeners in the loop's next iteration.
        await driver.execute("ROLLBACK")
        await asyncio.sleep(0)
        found = [json.loads(report.partition("plan:")[2]) for report in reports if "plan:" in report]
    finally:
        await driver.close()
    assert found, f"no plan was reported for {statement}"
    nodes = [node for plan in found for node in _nodes(plan["Plan"])]
    return Plan(
        statement=statement,
        rows_read=round(sum(map(_rows_read, nodes))),
        full_scans=tuple(
            node["Relation Name"]
            for node in nodes
            if node["Node Type"] == "Seq Scan" and _rows_read(node) and node["Relation Name"] != _ONE_ROW
        ),
        text=json.dumps(found),
    )


async def plans_of(engine: AsyncEngine, statements: Sequence[Statement], part: str) -> list[Plan]:
    """Return the plans of those statements that contain `part`."""
    return [await explain(engine, statement) for statement in statements if part in statement.sql]


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _rows_read(node: Mapping[str, Any]) -> float:
    if "Relation Name" not in node and node["Node Type"] != "Bitmap Index Scan":
        return 0
    removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck", "Rows Removed by Join Filter")
    return float(node["Actual Loops"] * (node["Actual Rows"] + sum(node.get(name, 0) for name in removed)))
