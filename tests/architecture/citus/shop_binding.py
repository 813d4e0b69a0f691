"""Whether a statement reaches the rows of one shop only, by the equality of `shop_id` that Citus routes by.

A shop's table is bound where it stands: by `shop_id = $n` in the WHERE of the same query or in the ON of its
join, or by equality with the shop_id of a table that is bound there. Citus does not see through the condition of
an outer query, so it does not count here; neither do `= ANY`, `IN` and OR.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pglast import ast
from pglast.enums import A_Expr_Kind, BoolExprType, JoinType

from tests.architecture.citus.sql_tree import (
    DIRECTORY_TABLES,
    QUERIES,
    SHOP_TABLES,
    Query,
    children_outside_queries,
    column_name,
    tables_of,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Binding:
    """The shops that a statement reaches."""

    parameters: frozenset[int]
    """Numbers of the parameters to which a shop's tables are bound."""
    unbound: tuple[str, ...]
    """A shop's tables that are not bound, once for each place."""


@dataclass(frozen=True, slots=True)
class _Equality:
    sides: tuple[object, object]
    bindable: frozenset[str] | None = None
    """Aliases that it can bind; None: all. The condition of an outer join binds only the side that may be NULL."""


@dataclass(slots=True)
class _Analysis:
    parameters: set[int] = field(default_factory=set)
    unbound: list[str] = field(default_factory=list)

    def visit(self, query: Query, ctes: Mapping[str, object]) -> None:
        """Analyse the query and the queries within it."""
        own = {cte.ctename: cte.ctequery for cte in query.withClause.ctes} if query.withClause else {}
        known = {**ctes, **own}
        if isinstance(query, ast.InsertStmt):
            self._insert(query, known)
        else:
            self._bind(query, known)
        for child in _nested(query):
            self.visit(child, known)

    def _bind(self, query: ast.SelectStmt | ast.UpdateStmt | ast.DeleteStmt, ctes: Mapping[str, object]) -> None:
        sources = _sources(query)
        tables = _tables(sources, ctes)
        equalities = [*_equalities(query.whereClause, None), *_join_equalities(sources)]
        bound: set[str] = set()
        changed = True
        while changed:
            changed = False
            for equality in equalities:
                for column, value in (equality.sides, equality.sides[::-1]):
                    alias = _shop_id_of(column, tables)
                    if alias in bound or alias is None or not _allows(equality, alias):
                        continue
                    parameter, other = _parameter(value), _shop_id_of(value, tables)
                    if parameter is not None or other in bound:
                        bound.add(alias)
                        changed = True
                        if parameter is not None and tables[alias] in SHOP_TABLES:
                            self.parameters.add(parameter)
        self.unbound += [table for alias, table in tables.items() if table in SHOP_TABLES and alias not in bound]

    def _insert(self, query: ast.InsertStmt, ctes: Mapping[str, object]) -> None:
        if query.relation.relname not in SHOP_TABLES:
            return
        values = list(_inserted(query))
        for value in values:
            parameter = _parameter(value)
            if parameter is not None:
                self.parameters.add(parameter)
        if not values or not all(_parameter(v) is not None or _is_read(v, query, ctes) for v in values):
            self.unbound.append(query.relation.relname)


def binding_of(statement: object) -> Binding:
    """Return which shops a statement reaches."""
    analysis = _Analysis()
    if isinstance(statement, QUERIES):
        analysis.visit(statement, {})
    return Binding(parameters=frozenset(analysis.parameters), unbound=tuple(analysis.unbound))


def _nested(query: Query) -> Iterator[Query]:
    """Yield the queries that stand directly in this one: of CTEs, FROM, expressions, and the parts of a UNION."""
    for name in query:
        for node in children_outside_queries(getattr(query, name)):
            if isinstance(node, QUERIES):
                yield node


def _sources(query: ast.SelectStmt | ast.UpdateStmt | ast.DeleteStmt) -> tuple[object, ...]:
    """Return the items of FROM, and the table that the query changes."""
    if isinstance(query, ast.SelectStmt):
        return tuple(query.fromClause or ())
    more = query.fromClause if isinstance(query, ast.UpdateStmt) else query.usingClause
    return (query.relation, *(more or ()))


def _tables(sources: object, ctes: Mapping[str, object]) -> dict[str, str]:
    """Return the tables of both groups among these items of FROM, by alias."""
    return {
        node.alias.aliasname if node.alias else node.relname: node.relname
        for node in children_outside_queries(sources)
        if isinstance(node, ast.RangeVar)
        and node.relname not in ctes
        and node.relname in SHOP_TABLES | DIRECTORY_TABLES
    }


def _join_equalities(sources: object) -> Iterator[_Equality]:
    for node in children_outside_queries(sources):
        if isinstance(node, ast.JoinExpr):
            nullable = {JoinType.JOIN_LEFT: (node.rarg,), JoinType.JOIN_RIGHT: (node.larg,)}
            inner = node.jointype == JoinType.JOIN_INNER
            bindable = frozenset(_tables(nullable.get(node.jointype, ()), {}))
            yield from _equalities(node.quals, None if inner else bindable)


def _equalities(condition: object, bindable: frozenset[str] | None) -> Iterator[_Equality]:
    """Yield the equalities that hold for every row that meets the condition."""
    if isinstance(condition, ast.BoolExpr) and condition.boolop == BoolExprType.AND_EXPR:
        for part in condition.args:
            yield from _equalities(part, bindable)
    elif (
        isinstance(condition, ast.A_Expr)
        and condition.kind == A_Expr_Kind.AEXPR_OP
        and condition.name[-1].sval == "="
    ):
        yield _Equality((condition.lexpr, condition.rexpr), bindable)


def _allows(equality: _Equality, alias: str) -> bool:
    return equality.bindable is None or alias in equality.bindable


def _shop_id_of(node: object, tables: Mapping[str, str]) -> str | None:
    """Return the alias of the table whose shop_id this is; None for anything else."""
    if not isinstance(node, ast.ColumnRef) or column_name(node) != "shop_id":
        return None
    if len(node.fields) == 1:
        return next(iter(tables)) if len(tables) == 1 else None
    alias = str(node.fields[-2].sval)
    return alias if alias in tables else None


def _parameter(node: object) -> int | None:
    while isinstance(node, ast.TypeCast):
        node = node.arg
    return int(node.number) if isinstance(node, ast.ParamRef) else None


def _inserted(query: ast.InsertStmt) -> Iterator[object]:
    """Yield what the INSERT puts into shop_id; nothing if the column is not named."""
    names = [target.name for target in query.cols or ()]
    source = query.selectStmt
    if "shop_id" in names and isinstance(source, ast.SelectStmt):
        position = names.index("shop_id")
        if source.valuesLists:
            yield from (row[position] for row in source.valuesLists)
        elif source.targetList:
            yield source.targetList[position].val


def _is_read(value: object, query: ast.InsertStmt, ctes: Mapping[str, object]) -> bool:
    """Whether the value is the shop_id of a row that the INSERT reads; that row's table is checked itself."""
    if column_name(value) != "shop_id" or not isinstance(query.selectStmt, ast.SelectStmt):
        return False
    names = [
        node.relname
        for node in children_outside_queries(query.selectStmt.fromClause)
        if isinstance(node, ast.RangeVar)
    ]
    return bool(names) and all(
        name in SHOP_TABLES or (name in ctes and tables_of(ctes[name]).named <= SHOP_TABLES) for name in names
    )
