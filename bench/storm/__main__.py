"""`make bench-storm`: how soon 5,000 watchers are back after all their connections broke at once.

The watchers are in a process of their own, 250 streams to a connection, and resume as `catalogsync sync watch`
does: with full jitter within half a second after the first break. They watch 1,000 syncs of 1,000 shops that run
on other replicas and go on meanwhile. A TCP proxy between them and catalog_svc resets all connections at once,
several times.

A watcher is back when a message of its next stream has arrived. The benchmark fails unless all watchers see the
end of their sync at last.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.common import machine
from bench.common.cluster import running_cluster
from bench.common.measure import BenchFailed, percentile
from bench.common.report import Target, print_result, print_table, print_targets
from bench.common.results import ROOT
from bench.common.stack import temporary_directory
from bench.storm.proxy import CuttingProxy
from bench.watch.many_syncs import other_replicas
from demo.processes import ProcessGroup

WITHIN_SECONDS = 10.0
"""How soon a watcher should be back."""
_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much of everything."""

    watchers: int
    syncs: int
    storms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Storm:
    """One storm as the watchers saw it."""

    watchers: int
    seconds: Sequence[float]
    """From the cut to the first message, of each watcher that came back, in order."""
    catalog_cpu: float
    """CPU seconds of catalog_svc within `WITHIN_SECONDS` after the cut."""

    @property
    def share_back(self) -> float:
        """The share of the watchers that were back in time, in percent."""
        return 100 * sum(seconds <= WITHIN_SECONDS for seconds in self.seconds) / self.watchers


async def _measure(place: Path, size: Size) -> list[Storm]:
    async with (
        running_cluster(place, [], ca_file="", settings={"CATALOG_MAX_WATCHERS_PER_SHOP": "20"}) as cluster,
        other_replicas(place, cluster, size.syncs) as others,
    ):
        replica = cluster.replicas[0]
        host, _, port = replica.address.rpartition(":")
        answers, syncs = place / "watchers.json", place / "watched_syncs.json"
        syncs.write_text(json.dumps(list(others.sync_ids)), encoding="utf-8")
        async with (
            CuttingProxy(host, int(port)).listening() as proxy,
            ProcessGroup(directory=ROOT, logs=place) as processes,
        ):
            arguments = ["--address", proxy.address, "--syncs", str(syncs), "--count", str(size.watchers)]
            await processes.start("watchers", "-m", "bench.storm.watcher_process", *arguments, stdout=answers)
            attached = (await _line(processes, answers, 0))["attached"]
            if attached != size.watchers:
                raise BenchFailed(f"{attached} of {size.watchers} watchers could attach")
            cuts: list[tuple[float, float]] = []
            for _ in range(size.storms):
                await processes.supervise(asyncio.sleep(2))
                before = machine.cpu_seconds(replica.catalog_pid)
                cut_at = time.monotonic()
                proxy.cut()
                await processes.supervise(asyncio.sleep(WITHIN_SECONDS + 1))
                cuts.append((cut_at, machine.cpu_seconds(replica.catalog_pid) - before))
            await others.end()
            summary = await _line(processes, answers, 1)
    if summary["ended"] != size.watchers:
        raise BenchFailed(f"{summary['ended']} of {size.watchers} watchers saw the end: {summary['failures']}")
    return [_storm(summary["breaks"], cut_at, cpu, size.watchers) for cut_at, cpu in cuts]


def _storm(breaks: Sequence[Sequence[Sequence[float]]], cut_at: float, cpu: float, watchers: int) -> Storm:
    """Return the storm of the cut at that time; the next one is later than every watcher should be back."""
    end = cut_at + WITHIN_SECONDS + 1
    found = [
        max(back_at for broken_at, back_at in own if cut_at <= broken_at < end) - cut_at
        for own in breaks
        if any(cut_at <= broken_at < end for broken_at, _ in own)
    ]
    return Storm(watchers=watchers, seconds=sorted(found), catalog_cpu=round(cpu, 2))


async def _line(processes: ProcessGroup, file: Path, number: int) -> dict[str, Any]:
    async def read() -> dict[str, Any]:
        while True:
            text = await asyncio.to_thread(file.read_text, encoding="utf-8")
            lines = text.splitlines(keepends=True)
            if len(lines) > number and lines[number].endswith("\n"):
                found: dict[str, Any] = json.loads(lines[number])
                return found
            await asyncio.sleep(0.1)

    async with asyncio.timeout(_TIMEOUT_SECONDS):
        return await processes.supervise(read())


def _row(storm: Storm) -> dict[str, float]:
    seconds = storm.seconds or (0.0,)
    return {
        "watchers": storm.watchers,
        "broken": len(storm.seconds),
        "back_percent": round(storm.share_back, 3),
        "p50_s": round(percentile(seconds, 50), 2),
        "p99_s": round(percentile(seconds, 99), 2),
        "max_s": round(max(seconds), 2),
        "catalog_cpu_s": storm.catalog_cpu,
    }


async def _all(size: Size) -> list[Storm]:
    with temporary_directory("storm") as place:
        return await _measure(place / "cluster", size)


def main() -> None:
    """Print how soon the watchers were back."""
    parser = argparse.ArgumentParser(prog="python -m bench.storm", description=__doc__)
    parser.add_argument("--watchers", type=int, default=5_000, help="[default: 5000]")
    parser.add_argument("--syncs", type=int, default=1_000, help="over which they are spread [default: 1000]")
    parser.add_argument("--storms", type=int, default=3, help="one after the other [default: 3]")
    arguments = parser.parse_args()
    size = Size(watchers=arguments.watchers, syncs=arguments.syncs, storms=arguments.storms)
    storms = [_row(storm) for storm in asyncio.run(_all(size))]
    columns = list(storms[0])
    title = f"Storms of {size.watchers:,} watchers"
    print_table(title, columns, [[f"{one[name]:,g}" for name in columns] for one in storms])
    worst = min(one["back_percent"] for one in storms)
    name = f"{size.watchers:,} watchers cut off at once: back within {WITHIN_SECONDS:g} s"
    targets = [Target(name=name, value=worst, unit="%", wanted=99.9, at="least")]
    print_targets(targets)
    figures: dict[str, object] = {
        "targets": [target.to_json() for target in targets],
        "ratios": {"share_of_watchers_back": worst / 100},
        "storms": storms,
    }
    print_result("storm", figures)


if __name__ == "__main__":
    main()
