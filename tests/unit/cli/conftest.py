"""Fixtures: a fake catalog and connector on real sockets, and the command line as a separate process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.fakes.catalog_service import CatalogServer, FakeCatalog
from tests.fakes.checking_connector import CheckingConnector, serve_connector
from tests.waiting import TIMEOUT_SECONDS, until

TOKEN = "s3cret-token-of-the-caller"


@dataclass(frozen=True, slots=True)
class Result:
    """The exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[Any]:
        """The JSON documents on standard output, one per line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, Any]:
        """The JSON error on standard error."""
        document: dict[str, dict[str, Any]] = json.loads(self.err)
        return document["error"]


class CommandLine:
    """Runs `catalogsync` against the fakes, and asserts that the token is never printed."""

    def __init__(self, catalog: str, connector: str) -> None:
        self.catalog = catalog
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("CATALOGSYNC_")},
            "CATALOGSYNC_CATALOG": catalog,
            "CATALOGSYNC_CONNECTOR": connector,
            "CATALOGSYNC_TOKEN": TOKEN,
            "CATALOGSYNC_CONFIG": "/nonexistent/config.toml",
        }

    async def start(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        return await self._start(arguments, environment)

    async def answer(self, text: str, *arguments: str) -> Result:
        """Run a command that reads `text` from its standard input, and then its end."""
        process = await self._start(arguments, {}, stdin=asyncio.subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(text.encode())
        process.stdin.close()
        return await self.wait(process)

    async def _start(
        self, arguments: Sequence[str], environment: Mapping[str, str], *, stdin: int | None = None
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "catalogsync_cli",
            *arguments,
            env={**self.environment, **environment},
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def __call__(self, *arguments: str, **environment: str) -> Result:
        return await self.wait(await self.start(*arguments, **environment))

    async def wait(
        self, process: asyncio.subprocess.Process, *, with_signal: signal.Signals | None = None
    ) -> Result:
        if with_signal is not None:
            process.send_signal(with_signal)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            out, err = await process.communicate()
            pytest.fail(f"the command did not end; it printed {out!r} {err!r}")
        assert TOKEN not in (out + err).decode()
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())


@pytest.fixture
async def server() -> AsyncIterator[CatalogServer]:
    """A fake catalog with analyses of its items."""
    fake = FakeCatalog()
    server = CatalogServer(fake, analysis=fake.analyses)
    await server.start()
    yield server
    await server.kill()
    await fake.close()


@pytest.fixture
def connector() -> CheckingConnector:
    return CheckingConnector()


@pytest.fixture
async def run(server: CatalogServer, connector: CheckingConnector) -> AsyncIterator[CommandLine]:
    connector_server, address = await serve_connector(connector)
    yield CommandLine(server.address, address)
    await connector_server.stop(None)


eventually = until
