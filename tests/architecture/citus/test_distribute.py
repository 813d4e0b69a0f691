"""deploy/citus/distribute.sql knows every table, and distributes what Citus could distribute.

No Citus is in a package registry: the script runs on the real schema with the functions of `citus_stand_in`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from pglast import ast, parse_sql
from sqlalchemy.engine import make_url

from catalog_svc.storage.tables import metadata
from tests.architecture.citus.citus_stand_in import STAND_IN
from tests.architecture.citus.sql_tree import DIRECTORY_TABLES, SHOP_TABLES
from tests.citus import DISTRIBUTE, NoCitus, distribute, workers_of
from tests.conftest import copied_database, execute

SCRIPT = DISTRIBUTE.read_text(encoding="utf-8")


def strings(node: object) -> Iterator[str]:
    """Yield the string constants below a node."""
    if isinstance(node, ast.A_Const) and isinstance(node.val, ast.String):
        yield node.val.sval
    elif isinstance(node, ast.Node):
        for name in node:
            yield from strings(getattr(node, name))
    elif isinstance(node, tuple):
        for child in node:
            yield from strings(child)


def distributed() -> dict[str, list[str]]:
    """Return the arguments of each call of `create_distributed_table`, by its table."""
    found = {}
    for statement in parse_sql(SCRIPT):
        if isinstance(statement.stmt, ast.SelectStmt):
            (target,) = statement.stmt.targetList
            name, *arguments = (target.val.funcname[-1].sval, *strings(target.val.args))
            if name == "create_distributed_table":
                found[arguments[0]] = arguments[1:]
    return found


def listed(name: str) -> set[str]:
    """Return the tables of a list in the script."""
    (tables,) = re.findall(rf"{name} CONSTANT text\[\] := ARRAY\[(.*?)\]", SCRIPT, re.DOTALL)
    return set(re.findall(r"'(\w+)'", tables))


def test_each_table_of_the_schema_is_distributed_or_local() -> None:
    """A new table cannot be forgotten."""
    assert listed("distributed") == distributed().keys() == SHOP_TABLES
    assert listed("local") == DIRECTORY_TABLES | {"alembic_version"}
    assert listed("distributed") | listed("local") == metadata.tables.keys() | {"alembic_version"}


def test_all_tables_of_a_shop_are_on_the_shard_of_its_write_lock() -> None:
    calls = distributed()
    assert calls.pop("shop_state") == ["shop_id"]
    assert set(map(tuple, calls.values())) == {("shop_id", "shop_state")}
    # The others are distributed to where it is.
    assert next(iter(distributed())) == "shop_state"


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[str]:
    async with copied_database(postgres_url) as url:
        connection = await asyncpg.connect(url)
        await connection.execute(f"BEGIN; {STAND_IN} COMMIT;")
        name = make_url(url).database
        await connection.execute(f"ALTER DATABASE {name} SET citus.propagate_set_commands = 'none'")
        await connection.close()
        yield url


async def test_the_script_runs_on_the_schema_and_again(database: str) -> None:
    for _ in range(2):
        await distribute(database)
    connection = await asyncpg.connect(database)
    tables = await connection.fetch("SELECT * FROM pg_dist_partition")
    functions = await connection.fetchval("SELECT count(*) FROM distributed_function")
    setting = await connection.fetchval("SHOW citus.propagate_set_commands")
    await connection.close()
    assert {str(row["logicalrelid"]) for row in tables} == SHOP_TABLES
    assert len({row["column_type"] for row in tables}) == 1
    assert (functions, setting) == (3, "local")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("CREATE TABLE of_newer_release (shop_id uuid)", "does not know the tables of_newer_release"),
        ("CREATE UNIQUE INDEX ON item (sku)", "a unique index of item does not contain shop_id"),
        ("ALTER FUNCTION matching_products RENAME TO found_products", "matching_products"),
    ],
)
async def test_what_cannot_be_distributed_is_an_error(database: str, change: str, message: str) -> None:
    await execute(database, change)
    with pytest.raises(asyncpg.PostgresError, match=message):
        await distribute(database)


async def test_a_server_without_citus_is_named_instead_of_tested(postgres_url: str) -> None:
    """`make test-citus` with the URL of an ordinary PostgreSQL says so."""
    with pytest.raises(NoCitus, match="no extension citus"):
        await workers_of(postgres_url)
