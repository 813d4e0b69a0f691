"""A crowd of watchers as the benchmark holds it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.common import machine
from bench.common.measure import BenchFailed
from bench.common.results import ROOT
from demo.processes import ProcessGroup

_PATIENCE = 120.0
"""Seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Seconds."""

    p50: float
    p99: float
    max: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What the watchers of a crowd saw after their first snapshots."""

    snapshots: int
    age: Spread
    """From the transaction that made a snapshot to a watcher, over all snapshots of all watchers."""
    age_of_the_last: Spread
    """The same of the terminal snapshots alone."""
    behind: Spread
    """From the first change that a watcher did not know to the snapshot that told it, passed over or not."""


class Crowd:
    """Watchers of one sync, all in one process, each with its first snapshot."""

    def __init__(self, count: int, processes: ProcessGroup, answers: Path) -> None:
        self._count = count
        self._family = processes
        self._answers = answers

    def cpu_seconds(self) -> float:
        """Of the watchers themselves, so far."""
        return machine.cpu_seconds(self._family.pids["watchers"])

    async def seen(self) -> Seen:
        """When all streams have ended. Raises BenchFailed unless all did with the terminal snapshot."""
        told = await _line(self._family, self._answers, 1)
        if told["ended"] != self._count:
            raise BenchFailed(f"{told['ended']} of {self._count} watchers saw the end: {told['failures']}")
        return Seen(
            snapshots=told["snapshots"],
            **{name: Spread(**told[name]) for name in ("age", "age_of_the_last", "behind")},
        )


@asynccontextmanager
async def watching(
    place: Path, address: str, sync_id: str, count: int, *, yielding: bool = False
) -> AsyncIterator[Crowd]:
    """`count` watchers, attached. Those that are `yielding` take only the CPU that nobody else wants."""
    answers = place / "watchers.json"
    arguments = ["--address", address, "--sync", sync_id, "--count", str(count)]
    async with ProcessGroup(directory=ROOT, logs=place) as processes:
        nice = ["--nice", "19"] if yielding else []
        await processes.start("watchers", "-m", "bench.watchers.client", *arguments, *nice, stdout=answers)
        attached = (await _line(processes, answers, 0))["attached"]
        if attached != count:
            raise BenchFailed(f"{attached} of {count} watchers could attach")
        yield Crowd(count, processes, answers)


async def _line(processes: ProcessGroup, file: Path, number: int) -> dict[str, Any]:
    async def told() -> dict[str, Any]:
        while True:
            text = await asyncio.to_thread(file.read_text, encoding="utf-8")
            lines = text.splitlines(keepends=True)
            if len(lines) > number and lines[number].endswith("\n"):
                found: dict[str, Any] = json.loads(lines[number])
                return found
            await asyncio.sleep(0.05)

    async with asyncio.timeout(_PATIENCE):
        return await processes.supervise(told())
