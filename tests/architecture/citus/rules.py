"""What Citus asks of a statement on a shop's tables, which are distributed by shop_id.

Citus is in no package registry, so no test runs it. These rules are those that a real Citus 13.2 enforced, and
those of its source (src/backend/distributed/planner/multi_router_planner.c): where Citus looks at the type of an
expression, which a parser does not know, a rule here is stricter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from pglast import ast

from tests.architecture.citus.shop_binding import binding_of
from tests.architecture.citus.sql_tree import (
    DIRECTORY_TABLES,
    QUERIES,
    SHOP_TABLES,
    STAGING_TABLES,
    TIME_COLUMNS,
    WRITES,
    Tables,
    column_name,
    function_name,
    parse,
    tables_of,
    type_name,
    walk,
)


class Rule(Enum):
    """Rules; the values say what is wrong."""

    NOT_BOUND = "a shop's table without equality of shop_id to a parameter"
    TWO_SHOPS = "tables bound to different parameters"
    BOTH_GROUPS = "tables of a shop and of the directory in one statement"
    UNKNOWN_TABLE = "a table that is in neither group"
    UNKNOWN_FUNCTION = "a function whose volatility is not known here"
    VOLATILE = "a volatile function in an UPDATE or DELETE"
    STABLE_OF_COLUMN = "a stable function of a column in an UPDATE or DELETE"
    NOT_IMMUTABLE = "not immutable, in RETURNING, CASE, COALESCE or DO UPDATE"
    LIMIT_SUBQUERY = "a subquery in LIMIT or OFFSET"
    SET_CONFIG = "set_config, which does not reach the workers; use SET LOCAL"
    PG_CLASS = "system tables, which on the coordinator know nothing of the shards"
    SHOP_ID_CHANGED = "an UPDATE of shop_id"


IMMUTABLE: Final = frozenset(
    {"array_agg", "bool_or", "cardinality", "count", "hashtextextended", "like_escape", "lower", "max", "min"}
    | {"octet_length", "sum", "unnest", "width_bucket"}
)
STABLE: Final = frozenset(
    {"current_setting", "date_part", "now", "pg_column_size", "statement_timestamp", "transaction_timestamp"}
)
VOLATILE: Final = frozenset(
    {"clock_timestamp", "gen_random_uuid", "nextval", "random", "set_config", "setval", "timeofday"}
)
"""Functions by their volatility in `pg_proc`, the worst of their variants."""

_NOT_IMMUTABLE_TYPES: Final = frozenset(
    {"date", "interval", "regclass", "time", "timetz", "timestamp", "timestamptz"}
)
"""Casts from text to these types depend on settings of the session."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """What breaks a rule."""

    rule: Rule
    what: str

    def __str__(self) -> str:
        return f"{self.rule.value}: {self.what}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedStatement:
    """What a statement does, and the rules that it breaks."""

    tables: Tables
    shop_parameters: frozenset[int]
    """Numbers of the parameters to which its shop's tables are bound."""
    violations: tuple[Violation, ...]

    @property
    def touches_shop(self) -> bool:
        """Whether it names a table of the group "shop"."""
        return bool(self.tables.named & SHOP_TABLES)

    @property
    def rules(self) -> set[Rule]:
        """The rules that it breaks."""
        return {violation.rule for violation in self.violations}


def check(sql: str) -> CheckedStatement:
    """Check a statement whose parameters are numbered, "$1".

    Other statements than SELECT, INSERT, UPDATE and DELETE break no rule: settings are for the session, and DDL is
    for the operator of the cluster.
    """
    statement = parse(sql)
    tables, binding = tables_of(statement), binding_of(statement)
    found: list[Violation] = []
    if isinstance(statement, QUERIES):
        found += [Violation(rule=Rule.UNKNOWN_TABLE, what=name) for name in sorted(tables.named) if _unknown(name)]
        if tables.named & SHOP_TABLES:
            found += [Violation(rule=Rule.NOT_BOUND, what=table) for table in binding.unbound]
            if len(binding.parameters) > 1:
                found.append(Violation(rule=Rule.TWO_SHOPS, what=str(sorted(binding.parameters))))
            found += _of_tables(tables)
            found += _of_functions(statement)
            found += _of_writes(statement)
    return CheckedStatement(tables=tables, shop_parameters=binding.parameters, violations=tuple(found))


def _unknown(name: str) -> bool:
    known = SHOP_TABLES | DIRECTORY_TABLES | STAGING_TABLES | {"alembic_version"}
    return name not in known and not name.startswith("pg_")


def _of_tables(tables: Tables) -> Iterator[Violation]:
    for name in sorted(tables.named):
        if name in DIRECTORY_TABLES:
            yield Violation(rule=Rule.BOTH_GROUPS, what=name)
        elif name.startswith("pg_"):
            yield Violation(rule=Rule.PG_CLASS, what=name)


def _of_functions(statement: object) -> Iterator[Violation]:
    for node in walk(statement):
        if isinstance(node, ast.FuncCall):
            name = function_name(node)
            if name == "set_config":
                yield Violation(rule=Rule.SET_CONFIG, what=name)
            elif name not in IMMUTABLE | STABLE | VOLATILE:
                yield Violation(rule=Rule.UNKNOWN_FUNCTION, what=name)
        elif isinstance(node, ast.SelectStmt):
            for limit in (node.limitCount, node.limitOffset):
                if any(isinstance(one, ast.SubLink) for one in walk(limit)):
                    yield Violation(rule=Rule.LIMIT_SUBQUERY, what="LIMIT")


def _of_writes(statement: object) -> Iterator[Violation]:
    writes = [node for node in walk(statement) if isinstance(node, WRITES)]
    if any(isinstance(node, ast.UpdateStmt | ast.DeleteStmt) for node in writes):
        yield from _volatile(statement)
    for write in writes:
        if write.returningClause is not None:
            yield from _not_immutable(write.returningClause, "RETURNING")
        if isinstance(write, ast.InsertStmt):
            if write.onConflictClause is not None:
                yield from _not_immutable(write.onConflictClause, "DO UPDATE")
        else:
            yield from _lazy_expressions(write)
            yield from _stable_of_columns(write)
            if isinstance(write, ast.UpdateStmt):
                yield from _changes_of_shop_id(write.targetList)


def _volatile(statement: object) -> Iterator[Violation]:
    for node in walk(statement):
        if isinstance(node, ast.FuncCall) and function_name(node) in VOLATILE:
            yield Violation(rule=Rule.VOLATILE, what=function_name(node))


def _lazy_expressions(write: object) -> Iterator[Violation]:
    for node in walk(write):
        if isinstance(node, ast.CaseExpr):
            yield from _not_immutable(node, "CASE")
        elif isinstance(node, ast.CoalesceExpr):
            yield from _not_immutable(node, "COALESCE")


def _not_immutable(clause: object, where: str) -> Iterator[Violation]:
    for node in walk(clause):
        what = ""
        if isinstance(node, ast.FuncCall) and function_name(node) not in IMMUTABLE:
            what = function_name(node)
        elif isinstance(node, ast.SQLValueFunction):
            what = node.op.name
        elif isinstance(node, ast.TypeCast) and type_name(node) in _NOT_IMMUTABLE_TYPES:
            what = f"cast to {type_name(node)}"
        elif _is_time_arithmetic(node):
            what = "arithmetic with times"
        if what:
            yield Violation(rule=Rule.NOT_IMMUTABLE, what=f"{what} in {where}")


def _stable_of_columns(write: object) -> Iterator[Violation]:
    """Citus computes stable expressions on the coordinator, which has no row."""
    for node in walk(write):
        stable = isinstance(node, ast.FuncCall) and function_name(node) in STABLE
        if (stable or _is_time_arithmetic(node)) and any(isinstance(one, ast.ColumnRef) for one in walk(node)):
            what = function_name(node) if isinstance(node, ast.FuncCall) else "arithmetic with times"
            yield Violation(rule=Rule.STABLE_OF_COLUMN, what=what)


def _is_time_arithmetic(node: object) -> bool:
    """Whether this adds or subtracts times, which depends on the session's time zone: 1 day is 23 to 25 hours."""
    if not isinstance(node, ast.A_Expr) or node.name[-1].sval not in ("+", "-"):
        return False
    return any(
        column_name(one) in TIME_COLUMNS
        or (isinstance(one, ast.TypeCast) and type_name(one) in _NOT_IMMUTABLE_TYPES)
        or (isinstance(one, ast.FuncCall) and function_name(one) in STABLE | VOLATILE)
        for one in walk((node.lexpr, node.rexpr))
    )


def _changes_of_shop_id(targets: object) -> Iterator[Violation]:
    for node in walk(targets):
        if isinstance(node, ast.ResTarget) and node.name == "shop_id":
            yield Violation(rule=Rule.SHOP_ID_CHANGED, what="shop_id")
