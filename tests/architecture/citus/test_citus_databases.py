"""`make test-citus` gives each test a database on all nodes of a cluster, migrated and distributed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from catalog_svc.storage.embedded import SERVICE_ROLE, service_url
from catalog_svc.storage.engine import open_engine
from tests.architecture.citus.citus_stand_in import write_extension
from tests.architecture.citus.sql_tree import SHOP_TABLES
from tests.chaos.postgres import running_postgres
from tests.citus import OTHER_TESTS, NoCitus, citus_database, workers_of
from tests.conftest import OWNER, execute, open_directory, with_database
from tests.e2e.conftest import ROOT, free_port
from tests.integration.catalog_svc.conftest import CatalogWorld

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
async def nodes() -> AsyncIterator[tuple[str, str]]:
    """Yield the URLs of a coordinator and a worker, servers with the extension of the stand-in."""
    async with AsyncExitStack() as stack:
        urls = []
        for name in ("coordinator", "worker"):
            directory = stack.enter_context(open_directory(name))
            write_extension(directory / "share")
            postgres = await stack.enter_async_context(running_postgres(directory / "server", free_port()))
            path = f"{directory / 'share'}:$system"
            await execute(postgres.url, f"ALTER SYSTEM SET extension_control_path = '{path}'")
            await execute(postgres.url, "SELECT pg_reload_conf()")
            urls.append(postgres.url)
        # Citus creates roles on its workers by itself.
        for role in (OWNER, SERVICE_ROLE):
            await execute(urls[1], f"CREATE ROLE {role} LOGIN")
        yield urls[0], urls[1]


async def databases(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        return {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
    finally:
        await connection.close()


async def test_a_test_has_a_distributed_database_on_all_nodes_until_its_end(nodes: tuple[str, str]) -> None:
    coordinator, worker = nodes
    with pytest.raises(NoCitus, match="no extension"):
        await workers_of(coordinator)
    await execute(coordinator, "CREATE EXTENSION citus")
    with pytest.raises(NoCitus, match="no workers"):
        await workers_of(coordinator)
    for node, function in ((coordinator, "citus_set_coordinator_host"), (worker, "citus_add_node")):
        url = make_url(node)
        await execute(coordinator, f"SELECT {function}('{url.host}', {url.port})")
    before = await databases(coordinator), await databases(worker)
    async with citus_database(coordinator, owner=OWNER, service_role=SERVICE_ROLE) as created:
        connection = await asyncpg.connect(created)
        tables = {str(row[0]) for row in await connection.fetch("SELECT logicalrelid FROM pg_dist_partition")}
        settings = await connection.fetchrow(
            "SELECT current_setting('citus.propagate_set_commands'), current_setting('citus.shard_count')"
        )
        await connection.close()
        assert tables == SHOP_TABLES
        assert list(settings or ()) == ["local", "4"]
        name = make_url(created).database or ""
        assert name in await databases(worker)
        await execute(with_database(worker, name), "SELECT citus_add_node('', 0)")
        engine = open_engine(service_url(created))
        world = CatalogWorld(engine)
        assert (await world.create_sync()).sync_id == (await world.claim()).sync.sync_id
        await engine.dispose()
    assert (await databases(coordinator), await databases(worker)) == before


def test_what_is_skipped_on_citus_exists() -> None:
    for name in OTHER_TESTS:
        file, _, group = name.partition("::")
        text = (ROOT / "tests/integration/catalog_svc" / file).read_text(encoding="utf-8")
        assert f"class {group}" in text or not group, name
