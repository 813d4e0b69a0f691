"""The process of a consumer that mirrors a shop; it is started and killed again and again."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

from catalogsync.catalog.v1 import catalog_service_pb2 as pb

from demo.processes import last_lines, process_environment
from tests.chaos.instance import ROOT
from tests.feed.mirror_cells import read
from tests.waiting import until

DOMAIN: Final = "one.myshopify.com"
SHOP: Final = pb.ShopRef(platform="shopify", domain=DOMAIN)
EXAMPLE: Final = ROOT / "examples/search-indexer"


class ConsumerProcess:
    """The process of the consumer, across all of its restarts, and its file."""

    def __init__(self, address: str, directory: Path) -> None:
        self._address = address
        self._directory = directory
        self._log = directory / "consumer.log"
        self._process: asyncio.subprocess.Process | None = None
        self._position: str | None = None
        self.files: list[Path] = []
        """Those of all consumers; `file` is the one that the next process uses."""
        self.begin_anew()

    def begin_anew(self) -> None:
        """Let the next process begin with nothing."""
        self.file = self._directory / f"mirror-{len(self.files) + 1}.db"
        self.files.append(self.file)

    async def start(self) -> None:
        """Start a process."""
        settings = {"PYTHONPATH": str(EXAMPLE), "CATALOG_ADDRESS": self._address}
        self._position = self._read_position()
        command = ("-m", "tests.feed.mirror_consumer", f"shopify:{DOMAIN}", str(self.file))
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                cwd=ROOT,
                env=process_environment(os.environ, settings),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def until_progress(self) -> None:
        """Wait until the process has stored another position than the one with which it was started."""
        await until(lambda: self._read_position() not in (None, self._position))

    def _read_position(self) -> str | None:
        rows = read(self.file, "SELECT position FROM feed")
        return str(rows[0][0]) if rows else None

    async def kill(self) -> list[str]:
        """Kill the process; describe how it had ended before, if it had."""
        process, self._process = self._process, None
        if process is None:
            return []
        if process.returncode is not None:
            return [f"the consumer exited with code {process.returncode}: {last_lines(self._log, 5)}"]
        process.kill()
        await process.wait()
        return []

    def expired_count(self) -> int:
        """Return how many positions have expired, of all files."""
        return sum(len(read(file, "SELECT position FROM expired")) for file in self.files)
