"""Replicas of catalog_svc over one PostgreSQL that can be stopped: no connector, and no syncs of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg

from catalog_svc.storage.embedded import SERVICE_ROLE, service_url
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.schema import migrate
from demo.stack import CATALOG_SERVICE
from tests.chaos.fault_proxy import HOST
from tests.chaos.instance import Instance
from tests.chaos.postgres import Postgres
from tests.chaos.system import free_port

REPLICAS: Final = 2


@asynccontextmanager
async def connected(postgres: Postgres) -> AsyncIterator[asyncpg.Connection]:
    """Yield a connection of the superuser."""
    connection = await postgres.connect()
    try:
        yield connection
    finally:
        await connection.close()


async def prepare_database(postgres: Postgres, *, journal: str) -> None:
    """Migrate the database, and execute the SQL that makes a journal of what is stored in it."""
    async with connected(postgres) as connection:
        await connection.execute(f"CREATE ROLE {SERVICE_ROLE} LOGIN")
    engine = open_engine(postgres.url, pool_size=2, command_timeout=None)
    try:
        await migrate(engine, service_role=SERVICE_ROLE)
    finally:
        await engine.dispose()
    async with connected(postgres) as connection:
        await connection.execute(journal)


async def start_replicas(
    stack: AsyncExitStack, postgres: Postgres, directory: Path, *, module: str = "catalog_svc"
) -> Sequence[Instance]:
    """Start the replicas, whose `python -m` module is given; the stack stops them."""
    replicas: list[Instance] = []
    for number in range(REPLICAS):
        name, port = f"replica-{number}", free_port()
        settings = {
            "CATALOG_LISTEN_ADDRESS": f"{HOST}:{port}",
            "CATALOG_DATABASE_URL": service_url(postgres.url),
            "CATALOG_CONNECTOR_ADDRESS": f"{HOST}:1",
            "CATALOG_HEARTBEAT_INTERVAL": "500ms",
            # The experiments use the queues of syncs and of refreshes themselves, or not at all.
            "CATALOG_MAX_RUNNING_SYNCS": "0",
            "CATALOG_MAX_RUNNING_REFRESHES": "0",
        }
        instance = Instance(name, CATALOG_SERVICE, port, ("-m", module), settings, directory / f"{name}.log")
        stack.push_async_callback(instance.stop)
        await instance.start()
        await instance.wait_until_ready()
        replicas.append(instance)
    return replicas
