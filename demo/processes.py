"""The processes of the demo: started one by one, watched while they live, stopped in reverse order."""

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

T = TypeVar("T")
STOP_PATIENCE = 15.0
"""Seconds that a process may take to stop before it is killed; above the services' own grace of 10."""
TOLD_LINES = 15


class ChildDied(Exception):
    """A process of the demo ended by itself; the message holds the end of its log."""

    def __init__(self, name: str, code: int, log: Path) -> None:
        tail = last_lines(log, TOLD_LINES) or "(it wrote nothing)"
        super().__init__(f"{name} ended with code {code}. The end of its log, {log}:\n\n{tail}")


class Child:
    """One process in a session of its own, so that Ctrl-C reaches the demo alone."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._log = log

    async def died(self) -> None:
        """Raises ChildDied when it has ended."""
        raise ChildDied(self.name, await self._process.wait(), self._log)

    async def stop(self, patience: float) -> None:
        """SIGTERM, and SIGKILL when that does not help within `patience` seconds."""
        self._signal(signal.SIGTERM)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._process.wait()
        finally:
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        """SIGKILL to it and what it started in its session."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


class Family:
    """All processes of the demo. Leaving it stops them, the youngest first; none is left behind.

    When this process dies before it can leave, a watchdog stops them.
    """

    def __init__(self, *, directory: Path, logs: Path, keep_open: tuple[int, ...] = ()) -> None:
        self._directory = directory
        self._logs = logs
        self._keep_open = keep_open
        self._children: list[Child] = []
        self.started: set[str] = set()
        """Names of all that ever were."""
        self._watchdog: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._watchdog = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            watchdog.__file__,
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
            while self._children:
                await self._children[-1].stop(STOP_PATIENCE)
                self._tell_watchdog("-", self._children.pop().pid)
        finally:
            # There are some left only when the stopping itself was cut short.
            self.kill()
            if self._watchdog is not None:
                await self._watchdog.communicate(b"")

    @property
    def pids(self) -> dict[str, int]:
        """Name and process id of each."""
        return {child.name: child.pid for child in self._children}

    async def start(
        self, name: str, *arguments: str, settings: Mapping[str, str] | None = None, answers: Path | None = None
    ) -> None:
        """Runs `python <arguments>` with the settings as its only ones. What it prints goes to logs/<name>.log;
        with `answers`, its standard output goes there instead."""
        log = self._logs / f"{name}.log"
        for file in (log, answers or log):
            file.write_bytes(b"")
        # Appending, since both may be one file.
        with log.open("ab") as told, (answers or log).open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                cwd=self._directory,
                env=child_environment(os.environ, settings or {}),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=told,
                start_new_session=True,
                pass_fds=self._keep_open,
            )
        self._children.append(Child(name, process, log))
        self.started.add(name)
        self._tell_watchdog("+", process.pid)

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; raises ChildDied as soon as a process ends."""
        working = asyncio.ensure_future(work)
        dying = [asyncio.ensure_future(child.died()) for child in self._children]
        try:
            await asyncio.wait({working, *dying}, return_when=asyncio.FIRST_COMPLETED)
            if working.done() and working.exception() is not None:
                # Most likely the work failed because a process did, which is about to be seen.
                await asyncio.wait(dying, timeout=1, return_when=asyncio.FIRST_COMPLETED)
            for death in dying:
                if death.done():
                    death.result()
            return await working
        finally:
            for task in (working, *dying):
                task.cancel()
            await asyncio.gather(working, *dying, return_exceptions=True)

    def _tell_watchdog(self, sign: str, pid: int) -> None:
        if self._watchdog is not None and self._watchdog.stdin is not None:
            self._watchdog.stdin.write(f"{sign}{pid}\n".encode())

    def kill_one(self, name: str) -> None:
        """Ends the process of that name at once."""
        next(child for child in self._children if child.name == name).kill()

    def kill(self) -> None:
        """Ends all at once."""
        for child in self._children:
            child.kill()


def child_environment(inherited: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """The inherited environment without settings of ours: a demo must not touch anybody's real database."""
    ours = ("CATALOG_", "CATALOGSYNC_", "CONNECTOR_", "LOG_FORMAT")
    kept = {name: value for name, value in inherited.items() if not name.startswith(ours)}
    # gRPC would ask a configured proxy even for this machine.
    return {**kept, "no_grpc_proxy": "127.0.0.1", "LOG_FORMAT": "text", "PYTHONUNBUFFERED": "1", **settings}


def last_lines(log: Path, count: int) -> str:
    """The end of a log, read from its last 16 KiB."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16_384))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-count:])
