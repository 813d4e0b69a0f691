"""A real PgBouncer in transaction mode, in front of the PostgreSQL of a test run; see `make test-pgbouncer`."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeAlias

from sqlalchemy.engine import URL, make_url

from tests.waiting import until

_User: TypeAlias = tuple[int, int]
"""Ids of a user and of its group."""

SERVER_CONNECTIONS: Final = 5
"""Server connections of a database and user: fewer than clients, so that transactions of one client change between
them."""
_PORT: Final = 6432
_DIRECTORY_PREFIX: Final = "catalogsync-pgbouncer-"

_CONFIGURATION: Final = """\
[databases]
* = host={server_host} port={server_port}

[pgbouncer]
pool_mode = transaction
default_pool_size = {server_connections}
max_client_conn = 200
listen_addr =
listen_port = {port}
unix_socket_dir = {directory}
auth_type = trust
auth_file = {directory}/users.txt
# Of a server that was down, the next client learns soon that it is back.
server_login_retry = 0.1
"""

# Ends with this process, also when that is killed: then the standard input of the shell ends.
_SCRIPT: Final = """
exec 3<&0
"$0" "$1" & pid=$!
(cat <&3; kill -KILL $pid) >/dev/null 2>&1 &
wait $pid
"""


def find_pgbouncer() -> str | None:
    """Return the path of PgBouncer, or None if it is not installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


def is_pooled(url: str) -> bool:
    """Return whether the URL leads through the PgBouncer of this module."""
    return _DIRECTORY_PREFIX in str(make_url(url).query.get("host", ""))


@asynccontextmanager
async def run_pgbouncer(
    program: str, server_url: str, users: Sequence[str] = (), *, server_connections: int = SERVER_CONNECTIONS
) -> AsyncIterator[URL]:
    """Run PgBouncer in front of the server of `server_url`, which listens on a Unix socket.

    Args:
        program: Path of PgBouncer.
        server_url: URL of any database of the server.
        users: Roles that may connect beside that of the URL.
        server_connections: Server connections of a database and user.

    Yields:
        The URL of the same database through PgBouncer.
    """
    server = make_url(server_url)
    user = _owner(Path(str(server.query["host"])))
    with _directory(user) as directory:
        (directory / "users.txt").write_text("".join(f'"{name}" ""\n' for name in (server.username, *users)))
        configuration = directory / "pgbouncer.ini"
        configuration.write_text(
            _CONFIGURATION.format(
                server_host=server.query["host"],
                server_port=server.port or 5432,
                server_connections=server_connections,
                port=_PORT,
                directory=directory,
            )
        )
        with (directory / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *_as_user(user),
                "sh",
                "-c",
                _SCRIPT,
                program,
                str(configuration),
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        try:
            socket = directory / f".s.PGSQL.{_PORT}"
            await until(lambda: socket.exists() or process.returncode is not None)
            assert process.returncode is None, (directory / "log").read_text()
            yield server.set(port=_PORT, query={**server.query, "host": str(directory)})
            # Tests that could not connect any more do not say why.
            assert process.returncode is None, f"PgBouncer has ended: {(directory / 'log').read_text()}"
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()


def _owner(server_directory: Path) -> _User | None:
    """Return the user to run as: PgBouncer refuses root, and only the server's user can reach its socket."""
    found = server_directory.stat()
    return (found.st_uid, found.st_gid) if os.geteuid() == 0 else None


def _as_user(user: _User | None) -> tuple[str, ...]:
    """Return the command prefix that changes the user; `user=` of subprocesses crashes gRPC's fork handlers."""
    return () if user is None else ("setpriv", f"--reuid={user[0]}", f"--regid={user[1]}", "--clear-groups")


@contextmanager
def _directory(user: _User | None) -> Iterator[Path]:
    with TemporaryDirectory(prefix=_DIRECTORY_PREFIX, ignore_cleanup_errors=True) as path:
        if user is not None:
            os.chown(path, *user)
        yield Path(path)
