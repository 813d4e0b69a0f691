"""A process that is killed, frozen and started again, many times."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from demo.processes import last_lines, process_environment
from demo.stack import wait_until_serving
from tests.chaos.fault_proxy import HOST

_READY = 90.0
ROOT = Path(__file__).parents[2]


class Instance:
    """One service at one address, through all its lives."""

    def __init__(
        self,
        name: str,
        service: str,
        port: int,
        command: Sequence[str],
        settings: Mapping[str, str],
        log: Path,
    ) -> None:
        self.name = name
        self._service = service
        self.port = port
        self.log = log
        self.life = 0
        """Grows with each start."""
        self.up = False
        """Serving, by its own health since its start, and neither frozen nor being stopped."""
        self.deaths: list[str] = []
        """Ends that nobody asked for."""
        self._command = tuple(command)
        self._settings = dict(settings)
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._ending = False

    @property
    def address(self) -> str:
        """host:port."""
        return f"{HOST}:{self.port}"

    @property
    def identity(self) -> str:
        """Of this life."""
        return f"{self.name}#{self.life}"

    @property
    def fallen(self) -> bool:
        """Whether it ended though nobody asked it to."""
        return self._process is not None and self._process.returncode is not None and not self._ending

    async def start(self) -> None:
        """A new life."""
        self.life += 1
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._command,
                cwd=ROOT,
                env=process_environment(os.environ, self._settings),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # Not before the await: for whoever looks in between, the last life would have fallen by itself.
        self._process, self._ending = process, False
        self._watching = asyncio.create_task(self._watch(process))

    async def ready(self) -> None:
        """When it serves, or has ended. Raises TimeoutError."""
        serves = asyncio.create_task(wait_until_serving(self.address, self._service))
        try:
            async with asyncio.timeout(_READY):
                await asyncio.wait({serves, *filter(None, (self._watching,))}, return_when=asyncio.FIRST_COMPLETED)
            self.up = serves.done() and not self._ending
        finally:
            serves.cancel()
            await asyncio.gather(serves, return_exceptions=True)

    def signal(self, number: signal.Signals) -> float:
        """Sends it; says when, by the wall clock."""
        at = time.time()
        if self._process is not None and self._process.returncode is None:
            self._ending = self._ending or number in (signal.SIGKILL, signal.SIGTERM)
            self.up = number is signal.SIGCONT and not self._ending
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)
        return at

    async def ended(self) -> None:
        """When the process of this life is gone."""
        if self._watching is not None:
            # Not awaited itself: whoever waits with a time-out would cancel it for all.
            await asyncio.wait({self._watching})

    async def stop(self) -> None:
        """Ends it for good."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        self.up = False
        if not self._ending:
            self.deaths.append(f"{self.identity} ended with code {code}: {last_lines(self.log, 5)}")
