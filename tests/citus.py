"""Databases on a Citus cluster that the operator of a test run has; see `make test-citus`.

Each test gets a database of its own on every node of the cluster: Citus distributes within one database, and
cannot copy a distributed template. The schema comes from `migrate`, the distribution from
deploy/citus/distribute.sql.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpg
from pglast import split
from sqlalchemy.engine import make_url

from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.schema import migrate

DISTRIBUTE: Final = Path(__file__).parents[1] / "deploy/citus/distribute.sql"
OTHER_TESTS: Final = frozenset(
    {
        # Plans, statistics and dumps of one PostgreSQL.
        "test_analysis_plans.py",
        "test_read_plans.py",
        "test_restored_dump.py",
        "test_statistics.py",
        # The schema itself, servers and poolers that the tests start, replicas of the release before.
        "test_change_feed.py::TestOlderRelease",
        "test_compatibility.py",
        "test_database_outage.py",
        "test_embedded_postgres.py",
        "test_pgbouncer.py",
        "test_schema.py",
    }
)
"""Files and classes of the integration suite about what one PostgreSQL does; they are skipped."""
_SHARDS: Final = 4
"""Of a test's database: each one is a table more to create, and the tests have few shops."""
_SELECT_WORKERS: Final = """
    SELECT nodename, nodeport FROM pg_dist_node
    WHERE noderole = 'primary' AND groupid <> 0 AND isactive ORDER BY nodeid"""
_SELECT_COORDINATOR: Final = "SELECT nodename, nodeport FROM pg_dist_node WHERE groupid = 0"


class NoCitus(Exception):
    """The URL does not lead to the coordinator of a Citus cluster with workers."""


async def workers_of(url: str) -> list[str]:
    """Return the URLs of the cluster's workers.

    Args:
        url: A database of the coordinator that has the extension, as a superuser.

    Raises:
        NoCitus: There is none.
    """
    try:
        rows = await _fetch(url, _SELECT_WORKERS)
    except asyncpg.UndefinedTableError as error:
        raise NoCitus(f"{make_url(url)!r}: the database has no extension citus") from error
    if not rows:
        raise NoCitus(f"{make_url(url)!r}: the cluster has no workers")
    return [_at(url, row["nodename"], row["nodeport"]) for row in rows]


@asynccontextmanager
async def citus_database(url: str, *, owner: str, service_role: str) -> AsyncIterator[str]:
    """Create a database with the distributed schema on all nodes, and drop it at the end.

    Args:
        url: A database of the coordinator that has the extension, as a superuser.
        owner: The role that owns the tables; it is created if it does not exist, as the other one.
        service_role: The role with which the service connects.

    Yields:
        The URL of the database on the coordinator, as the superuser.
    """
    name = f"catalog_{uuid4().hex}"
    nodes = [url, *await workers_of(url)]
    coordinator = await _fetch(url, _SELECT_COORDINATOR)
    for role in (owner, service_role):
        await _create_role(url, role)
    try:
        for node in nodes:
            await _run(node, f"CREATE DATABASE {name} OWNER {owner}")
            await _run(_in(node, name), "CREATE EXTENSION citus")
        created = _in(url, name)
        await _add_nodes(created, [(row["nodename"], row["nodeport"]) for row in coordinator], nodes[1:])
        await _run(created, f"ALTER DATABASE {name} SET citus.shard_count = {_SHARDS}")
        await _migrate(created, owner, service_role)
        await distribute(created)
        yield created
    finally:
        for node in reversed(nodes):
            await _run(node, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def distribute(url: str) -> None:
    """Run deploy/citus/distribute.sql as a superuser."""
    connection = await asyncpg.connect(url)
    try:
        # One by one, as psql does: several in one message would be one transaction.
        for statement in split(DISTRIBUTE.read_text(encoding="utf-8")):
            await connection.execute(statement)
    finally:
        await connection.close()


async def _create_role(url: str, name: str) -> None:
    """Create a role, which Citus creates on the workers as well."""
    with suppress(asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
        await _run(url, f"CREATE ROLE {name} LOGIN IN ROLE pg_read_all_stats")


async def _add_nodes(url: str, coordinator: Sequence[tuple[str, int]], workers: Sequence[str]) -> None:
    for host, port in coordinator:
        await _fetch(url, "SELECT citus_set_coordinator_host($1, $2)", host, port)
    for worker in workers:
        node = make_url(worker)
        await _fetch(url, "SELECT citus_add_node($1, $2)", node.host, node.port)


async def _migrate(url: str, owner: str, service_role: str) -> None:
    """Create the schema as the owner, as an operator does."""
    as_owner = make_url(url).set(username=owner).render_as_string(hide_password=False)
    engine = open_engine(as_owner, pool_size=2)
    try:
        await migrate(engine, text_search=True, service_role=service_role)
    finally:
        await engine.dispose()


def _at(url: str, host: str, port: int) -> str:
    return make_url(url).set(host=host, port=port).render_as_string(hide_password=False)


def _in(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)


async def _run(url: str, script: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


async def _fetch(url: str, query: str, *values: Any) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query, *values))
    finally:
        await connection.close()
