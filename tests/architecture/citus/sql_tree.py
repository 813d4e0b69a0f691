"""Parsed SQL statements: walking the tree, and the tables that a statement reads and writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from pglast import ast, parse_sql
from sqlalchemy import DateTime, Interval

from catalog_svc.storage.products import STAGE_ITEM, STAGE_PRODUCT
from catalog_svc.storage.tables import metadata

SHOP_TABLES: Final = frozenset(
    {"shop_state", "sync", "sync_history", "sync_issue", "sync_seen", "obsolete_pass", "product", "item"}
    | {"product_refresh", "change_event", "analysis_task", "analysis_result"}
)
"""Tables of the group "shop", distributed by shop_id."""
DIRECTORY_TABLES: Final = frozenset(
    {
        "shop",
        "shop_deletion",
        "shop_schedule",
        "sync_queue",
        "refresh_queue",
        "shop_audit",
        "shop_webhooks",
        "analysis_queue",
        "analysis_worker",
        "idempotency_key",
        "loop_lease",
        "page_token_key",
        "schema_compatibility",
        "change_feed",
    }
)
"""Tables of the group "directory", local to the coordinator."""
STAGING_TABLES: Final = frozenset({STAGE_PRODUCT, STAGE_ITEM})
"""Temporary tables, which are in neither group."""
TIME_COLUMNS: Final = frozenset(
    column.name
    for table in metadata.tables.values()
    for column in table.columns
    if isinstance(column.type, DateTime | Interval)
)

Query: TypeAlias = ast.SelectStmt | ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt
QUERIES: Final = (ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt)
WRITES: Final = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tables:
    """Tables of one statement, without CTEs."""

    named: frozenset[str]
    written: frozenset[str]
    locked: frozenset[str]
    """Tables whose rows a SELECT locks."""


def parse(sql: str) -> object:
    """Return the one statement; its parameters are numbered, "$1"."""
    (statement,) = parse_sql(sql)
    return statement.stmt


def walk(node: object) -> Iterator[ast.Node]:
    """Yield the node and all nodes below it."""
    if isinstance(node, ast.Node):
        yield node
        for name in node:
            yield from walk(getattr(node, name))
    elif isinstance(node, tuple):
        for child in node:
            yield from walk(child)


def children_outside_queries(node: object) -> Iterator[ast.Node]:
    """Yield the node and all nodes below it; of the queries within, only themselves."""
    if isinstance(node, ast.Node):
        yield node
        if not isinstance(node, QUERIES):
            for name in node:
                yield from children_outside_queries(getattr(node, name))
    elif isinstance(node, tuple):
        for child in node:
            yield from children_outside_queries(child)


def tables_of(statement: object) -> Tables:
    """Return the tables of a statement."""
    ctes = {node.ctename for node in walk(statement) if isinstance(node, ast.CommonTableExpr)}
    written = {node.relation.relname for node in walk(statement) if isinstance(node, WRITES)}
    named = _relations(walk(statement)) | _regclasses(statement)
    locked: set[str] = set()
    for node in walk(statement):
        if isinstance(node, ast.SelectStmt) and node.lockingClause:
            locked |= _relations(children_outside_queries(node.fromClause))
    return Tables(
        named=frozenset(named - ctes) | written, written=frozenset(written), locked=frozenset(locked - ctes)
    )


def column_name(node: object) -> str:
    """Return the name of a column without its table; empty for anything else."""
    if isinstance(node, ast.ColumnRef) and isinstance(node.fields[-1], ast.String):
        return str(node.fields[-1].sval)
    return ""


def type_name(cast: ast.TypeCast) -> str:
    """Return the name of a cast's target type."""
    return str(cast.typeName.names[-1].sval)


def function_name(call: ast.FuncCall) -> str:
    """Return the name of the called function without its schema."""
    return str(call.funcname[-1].sval)


def _relations(nodes: Iterable[ast.Node]) -> set[str]:
    return {node.relname for node in nodes if isinstance(node, ast.RangeVar)}


def _regclasses(statement: object) -> set[str]:
    """Tables whose name is cast to regclass."""
    return {
        node.arg.val.sval
        for node in walk(statement)
        if isinstance(node, ast.TypeCast)
        and type_name(node) == "regclass"
        and isinstance(node.arg, ast.A_Const)
        and isinstance(node.arg.val, ast.String)
    }
