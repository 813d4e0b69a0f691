"""A process of watchers as the benchmark holds it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.common import machine
from bench.common.measure import BenchFailed
from bench.common.results import ROOT
from demo.processes import ProcessGroup

_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Percentiles:
    """In seconds."""

    p50: float
    p99: float
    max: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """What all watchers received after their first snapshots."""

    snapshots: int
    age: Percentiles
    """From the transaction that wrote a snapshot to its arrival."""
    age_of_terminal: Percentiles
    """The same of the terminal snapshots alone."""
    behind: Percentiles
    """From the first change that a watcher did not know to the snapshot that brought it or a later one."""


class Watchers:
    """Watchers in one process, each with its first snapshot."""

    def __init__(self, count: int, processes: ProcessGroup, answers: Path) -> None:
        self.count = count
        self._processes = processes
        self._answers = answers

    def cpu_seconds(self) -> float:
        """Return the CPU time of the watchers themselves so far."""
        return machine.cpu_seconds(self._processes.pids["watchers"])

    async def received(self) -> Received:
        """Return the summary once all streams have ended.

        Raises BenchFailed unless all ended with the terminal snapshot.
        """
        summary = await _line(self._processes, self._answers, 1)
        if summary["ended"] != self.count:
            raise BenchFailed(f"{summary['ended']} of {self.count} watchers saw the end: {summary['failures']}")
        return Received(
            snapshots=summary["snapshots"],
            **{name: Percentiles(**summary[name]) for name in ("age", "age_of_terminal", "behind")},
        )


@asynccontextmanager
async def attached_watchers(
    place: Path, address: str, sync_ids: Sequence[str], count: int, *, low_priority: bool = False
) -> AsyncIterator[Watchers]:
    """Yield `count` watchers spread evenly over the syncs, all attached.

    With `low_priority` they use only the CPU that nobody else wants, as watchers on other machines do.
    """
    answers, syncs = place / "watchers.json", place / "watched_syncs.json"
    syncs.write_text(json.dumps(list(sync_ids)), encoding="utf-8")
    arguments = ["--address", address, "--syncs", str(syncs), "--count", str(count)]
    async with ProcessGroup(directory=ROOT, logs=place) as processes:
        nice = ["--nice", "19"] if low_priority else []
        await processes.start("watchers", "-m", "bench.watch.watcher_process", *arguments, *nice, stdout=answers)
        attached = (await _line(processes, answers, 0))["attached"]
        if attached != count:
            raise BenchFailed(f"{attached} of {count} watchers could attach")
        yield Watchers(count, processes, answers)


async def _line(processes: ProcessGroup, file: Path, number: int) -> dict[str, Any]:
    async def read() -> dict[str, Any]:
        while True:
            text = await asyncio.to_thread(file.read_text, encoding="utf-8")
            lines = text.splitlines(keepends=True)
            if len(lines) > number and lines[number].endswith("\n"):
                found: dict[str, Any] = json.loads(lines[number])
                return found
            await asyncio.sleep(0.05)

    async with asyncio.timeout(_TIMEOUT_SECONDS):
        return await processes.supervise(read())
