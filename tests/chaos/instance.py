"""A service process that is killed, frozen and restarted many times."""

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

_START_TIMEOUT_SECONDS = 90.0
ROOT = Path(__file__).parents[2]


def code_path(directory: Path) -> dict[str, str]:
    """Return the environment in which Python takes our packages from a directory; empty for this checkout."""
    if directory == ROOT:
        return {}
    packages = ("", "gen", "common", "clients/python", "cli", "bff")
    return {"PYTHONPATH": os.pathsep.join(str(directory / package) for package in packages)}


class Instance:
    """One service at one address, across all its restarts."""

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
        self.code = ROOT
        """The directory of the code that the next start runs: another release, for instance."""
        self._service = service
        self.port = port
        self.log = log
        self.start_count = 0
        self.up = False
        """Its health check succeeded since its last start, and it is neither frozen nor being stopped."""
        self.violations: list[str] = []
        """Exits that the test did not cause, and terminations that took too long."""
        self._command = tuple(command)
        self._settings = dict(settings)
        self._process: asyncio.subprocess.Process | None = None
        self._exit_watcher: asyncio.Task[None] | None = None
        self._exit_expected = False

    @property
    def exit_code(self) -> int | None:
        """Exit code of the last process; None: it runs."""
        return self._process.returncode if self._process is not None else None

    @property
    def address(self) -> str:
        """host:port."""
        return f"{HOST}:{self.port}"

    @property
    def identity(self) -> str:
        """Name of the current process: another one after each start."""
        return f"{self.name}#{self.start_count}"

    @property
    def exited_unexpectedly(self) -> bool:
        """Whether the process exited without a signal of the test."""
        return self._process is not None and self._process.returncode is not None and not self._exit_expected

    async def start(self) -> None:
        """Start a new process."""
        self.start_count += 1
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._command,
                cwd=self.code,
                env=process_environment(os.environ, {**self._settings, **code_path(self.code)}),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # Set after the await: a task that runs meanwhile must not see the old process as exited unexpectedly.
        self._process, self._exit_expected = process, False
        self._exit_watcher = asyncio.create_task(self._watch_exit(process))

    async def wait_until_ready(self) -> None:
        """Return when it serves or has exited.

        Raises:
            TimeoutError: It did neither within 90 seconds.
        """
        serves = asyncio.create_task(wait_until_serving(self.address, self._service))
        try:
            async with asyncio.timeout(_START_TIMEOUT_SECONDS):
                await asyncio.wait(
                    {serves, *filter(None, (self._exit_watcher,))}, return_when=asyncio.FIRST_COMPLETED
                )
            self.up = serves.done() and not self._exit_expected
        finally:
            serves.cancel()
            await asyncio.gather(serves, return_exceptions=True)

    def signal(self, number: signal.Signals) -> float:
        """Send the signal, and return the Unix time at which it was sent."""
        at = time.time()
        if self._process is not None and self._process.returncode is None:
            self._exit_expected = self._exit_expected or number in (signal.SIGKILL, signal.SIGTERM)
            self.up = number is signal.SIGCONT and not self._exit_expected
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)
        return at

    async def wait_for_exit(self) -> None:
        """Return when the current process has exited."""
        if self._exit_watcher is not None:
            # asyncio.wait() does not cancel the task when the caller's timeout expires; others wait for it, too.
            await asyncio.wait({self._exit_watcher})

    async def stop(self) -> None:
        """Kill the process."""
        self.signal(signal.SIGKILL)
        await self.wait_for_exit()

    async def _watch_exit(self, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        self.up = False
        if not self._exit_expected:
            self.violations.append(f"{self.identity} exited with code {code}: {last_lines(self.log, 5)}")
