"""A process with the embedded PostgreSQL leaves no server behind, however it ends."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest

from tests.conftest import open_directory
from tests.waiting import until

ROOT = Path(__file__).parents[3]

USER = """
import asyncio, sys
from pathlib import Path
from catalog_svc.storage.embedded import embedded_postgres

async def main() -> None:
    async with embedded_postgres(Path(sys.argv[1])):
        print("running", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""

TEST = """
import asyncio
from pathlib import Path

import asyncpg

async def test_it_runs_until_killed(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    directory = await connection.fetchval("SHOW data_directory")
    await connection.close()
    file = Path({file!r})
    file.with_suffix(".part").write_text(directory)
    file.with_suffix(".part").rename(file)
    await asyncio.Event().wait()
"""


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


@asynccontextmanager
async def user(data_dir: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process with the embedded PostgreSQL on `data_dir`."""
    async with process("-c", USER, str(data_dir)) as started:
        assert started.stdout is not None
        assert await started.stdout.readline() == b"running\n"
        yield started


def server_of(data_dir: Path) -> psutil.Process:
    return psutil.Process(int((data_dir / "postmaster.pid").read_text().splitlines()[0]))


def watchdogs_of(data_dir: Path) -> list[psutil.Process]:
    return [
        found
        for found in psutil.process_iter(["cmdline"])
        if str(data_dir) in (found.info["cmdline"] or ()) and "postgres_watchdog.py" in str(found.info["cmdline"])
    ]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_a_process_ended_by_a_signal_leaves_no_server_behind(number: signal.Signals) -> None:
    with open_directory("watchdog") as directory:
        data = directory / "data"
        async with user(data) as started:
            server = server_of(data)
            started.send_signal(number)
            await until(lambda: not server.is_running())
            await until(lambda: watchdogs_of(data) == [])


async def test_a_server_that_another_process_uses_continues() -> None:
    with open_directory("watchdog") as directory:
        data = directory / "data"
        async with user(data) as first, user(data) as second:
            server = server_of(data)
            first.kill()
            await first.wait()
            await until(lambda: len(watchdogs_of(data)) == 1)
            assert server.is_running()
            second.kill()
            await until(lambda: not server.is_running())


async def test_an_empty_list_of_users_does_not_prevent_the_start() -> None:
    """A process leaves it when it is killed while it writes the list."""
    with open_directory("watchdog") as directory:
        data = directory / "data"
        for _ in range(2):
            async with user(data) as started:
                assert server_of(data).is_running()
                started.kill()
                await until(lambda: watchdogs_of(data) == [])
            (data / ".handle_pids.json").write_text("")


async def test_it_has_the_extension_for_text_search(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("CREATE EXTENSION pg_trgm")
    assert await connection.fetchval("SELECT show_trgm('cat')") == ["  c", " ca", "at ", "cat"]
    await connection.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_a_test_run_ended_by_a_signal_leaves_no_server_behind(number: signal.Signals) -> None:
    """With two workers of xdist, as in `make test`."""
    with open_directory("watchdog") as directory:
        data_directories = directory / "data_directories"
        data_directories.mkdir()
        for name in ("a", "b"):
            (directory / f"test_{name}.py").write_text(TEST.format(file=str(data_directories / name)))
        (directory / "conftest.py").write_text("from tests.conftest import *\n")
        options = ("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(directory), "-p", "no:cacheprovider")
        async with process("-m", "pytest", *options, "-n", "2", "--dist", "loadfile", str(directory)) as run:
            await until(lambda: [path.name for path in sorted(data_directories.iterdir())] == ["a", "b"])
            servers = [server_of(Path(path.read_text())) for path in data_directories.iterdir()]
            run.send_signal(number)
            await until(lambda: not any(server.is_running() for server in servers))
