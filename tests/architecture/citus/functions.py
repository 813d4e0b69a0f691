"""The statements within the functions of the schema, which run with the owner's rights across shops."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pglast import parse_plpgsql
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

_SELECT_FUNCTIONS: Final = text("""
    SELECT proname AS name, pg_get_functiondef(oid) AS definition,
        coalesce(proargnames[1 : pronargs], '{}') AS parameters
    FROM pg_proc WHERE pronamespace = CAST(current_schema() AS regnamespace) AND prosecdef
      AND prorettype <> CAST('trigger' AS regtype) ORDER BY proname""")
_STATEMENT: Final = 0
_EXPRESSION: Final = 2
_ASSIGNMENT: Final = 3
"""Parse modes of `PLpgSQL_expr`. Expressions and assignments may have a query within."""


async def function_statements(engine: AsyncEngine) -> dict[str, str]:
    """Return the statements of all SECURITY DEFINER functions, as "function[number]", with numbered parameters.

    The function of the trigger for replicas of the last release is left out: that release does not run on Citus.

    Statements that a function builds as text are not among them: EXECUTE is for partitions only.
    """
    async with engine.connect() as connection:
        functions = (await connection.execute(_SELECT_FUNCTIONS)).all()
    found: dict[str, str] = {}
    for function in functions:
        statements = list(_statements(parse_plpgsql(function.definition)))
        for number, statement in enumerate(statements):
            for position, name in enumerate(function.parameters, start=1):
                statement = re.sub(rf"\b{name}\b", f"${position}", statement)
            found[f"{function.name}[{number}]"] = statement
    return found


def _statements(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if "PLpgSQL_expr" in node:
            expression = node["PLpgSQL_expr"]
            if expression["parseMode"] == _STATEMENT:
                yield expression["query"]
            elif expression["parseMode"] == _EXPRESSION and "SELECT" in expression["query"]:
                yield f"SELECT {expression['query']}"
            elif expression["parseMode"] == _ASSIGNMENT and "SELECT" in expression["query"]:
                yield f"SELECT {expression['query'].partition(':=')[2]}"
        else:
            for child in node.values():
                yield from _statements(child)
    elif isinstance(node, list):
        for child in node:
            yield from _statements(child)
