"""Child processes of the demo: started one by one, supervised while they run, stopped in reverse order."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from demo import orphan_cleanup

T = TypeVar("T")
# Above the services' own shutdown grace period of 10 s.
STOP_TIMEOUT_SECONDS = 15.0
LOG_TAIL_LINES = 15


class ProcessExited(Exception):
    """A process of the group exited by itself; the message holds the end of its log."""

    def __init__(self, name: str, code: int, log: Path) -> None:
        tail = last_lines(log, LOG_TAIL_LINES) or "(the log is empty)"
        super().__init__(f"{name} exited with code {code}. The end of its log, {log}:\n\n{tail}")


class ManagedProcess:
    """One process in a session of its own, so that Ctrl-C reaches the demo alone."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._log = log

    async def wait_for_exit(self) -> None:
        """Raise ProcessExited once the process has exited."""
        raise ProcessExited(self.name, await self._process.wait(), self._log)

    async def stop(self, timeout_seconds: float) -> None:
        """Send SIGTERM, and SIGKILL if the process still runs after the timeout."""
        self._signal(signal.SIGTERM)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    await self._process.wait()
        finally:
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        """Send SIGKILL to the process and to everything it started in its session."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


class ProcessGroup:
    """Context manager that owns all processes started in it and stops them on exit, the newest first.

    If this process dies before it can do so, `demo.orphan_cleanup` stops them.

    Args:
        directory: Working directory of the processes.
        logs: Existing directory for one log file per process.
        inherited_fds: File descriptors that the processes keep open.
    """

    def __init__(self, *, directory: Path, logs: Path, inherited_fds: tuple[int, ...] = ()) -> None:
        self._directory = directory
        self._logs = logs
        self._inherited_fds = inherited_fds
        self._processes: list[ManagedProcess] = []
        self.started: set[str] = set()
        """Names of all processes started so far, stopped ones included."""
        self._cleanup: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._cleanup = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            orphan_cleanup.__file__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while self._processes:
                await self._processes[-1].stop(STOP_TIMEOUT_SECONDS)
                self._notify_cleanup("-", self._processes.pop().pid)
        finally:
            # Some are left only if stopping was itself interrupted.
            self.kill_all()
            if self._cleanup is not None:
                await self._cleanup.communicate(b"")

    @property
    def pids(self) -> dict[str, int]:
        """Process id by name, of the processes that have not been stopped."""
        return {process.name: process.pid for process in self._processes}

    async def start(
        self, name: str, *arguments: str, settings: Mapping[str, str] | None = None, stdout: Path | None = None
    ) -> None:
        """Start `python <arguments>` and return without waiting until it is ready.

        Args:
            name: Unique name; the output goes to `<logs>/<name>.log`.
            arguments: Arguments of the Python interpreter.
            settings: The only settings of ours in its environment, see `process_environment`.
            stdout: File for its standard output, in place of the log.
        """
        log = self._logs / f"{name}.log"
        for file in (log, stdout or log):
            file.write_bytes(b"")
        # Opened for appending, since both may be the same file.
        with log.open("ab") as err, (stdout or log).open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                cwd=self._directory,
                env=process_environment(os.environ, settings or {}),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                pass_fds=self._inherited_fds,
            )
        self._processes.append(ManagedProcess(name, process, log))
        self.started.add(name)
        self._notify_cleanup("+", process.pid)

    async def supervise(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`; cancel it and raise ProcessExited as soon as a process exits."""
        task = asyncio.ensure_future(work)
        exits = [asyncio.ensure_future(process.wait_for_exit()) for process in self._processes]
        try:
            await asyncio.wait({task, *exits}, return_when=asyncio.FIRST_COMPLETED)
            if task.done() and task.exception() is not None:
                # Most likely the work failed because a process exited, which is about to be noticed.
                await asyncio.wait(exits, timeout=1, return_when=asyncio.FIRST_COMPLETED)
            for process_exit in exits:
                if process_exit.done():
                    process_exit.result()
            return await task
        finally:
            for pending in (task, *exits):
                pending.cancel()
            await asyncio.gather(task, *exits, return_exceptions=True)

    def _notify_cleanup(self, sign: str, pid: int) -> None:
        if self._cleanup is not None and self._cleanup.stdin is not None:
            self._cleanup.stdin.write(f"{sign}{pid}\n".encode())

    def kill_one(self, name: str) -> None:
        """Send SIGKILL to the process of that name."""
        next(process for process in self._processes if process.name == name).kill()

    def kill_all(self) -> None:
        """Send SIGKILL to all processes."""
        for process in self._processes:
            process.kill()


def process_environment(inherited: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """Return the inherited environment with our settings replaced by `settings`.

    Inherited settings are dropped because a demo must not touch a real database.
    """
    ours = ("BFF_", "CATALOG_", "CATALOGSYNC_", "CONNECTOR_", "LOG_FORMAT")
    kept = {name: value for name, value in inherited.items() if not name.startswith(ours)}
    # gRPC would send even connections to this machine through a configured proxy.
    return {**kept, "no_grpc_proxy": "127.0.0.1", "LOG_FORMAT": "text", "PYTHONUNBUFFERED": "1", **settings}


def last_lines(log: Path, count: int) -> str:
    """Return the last `count` lines of a log, taken from its last 16 KiB."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16_384))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-count:])
