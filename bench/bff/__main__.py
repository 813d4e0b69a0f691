"""`make bench-bff`: how soon browsers at the BFF see a change, and what each of them costs.

A sync of a slow shop runs all the time. Browsers are event streams of `/events`, read in the process that
measures: 20 of them, then 1,000. Of each event the age is measured when it arrives, from the `update_time` of its
sync; of the 1,000 also the memory of the BFF, and how many streams it has upstream. Then one stream after the
other is opened through each reverse proxy that is installed, and the time to its first event is measured.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from bench.bff.browsers import opened
from bench.common import machine
from bench.common.cluster import Cluster, running_cluster
from bench.common.load import start_running_sync
from bench.common.measure import BenchFailed, percentile
from bench.common.report import Target, print_result, print_table, print_targets
from bench.common.results import ROOT
from bench.common.reverse_proxies import REVERSE_PROXIES
from bench.common.stack import free_addresses, temporary_directory
from bench.common.store import READY_TIMEOUT_SECONDS, running_slow_shops
from demo.processes import ProcessGroup

EVENTS: Final = "/api/v1/catalog/events"
SHOP: Final = "woocommerce:slow.example:products=30000,version=10.3"
LATENCY_MS: Final = 200
MAX_AGE_SECONDS: Final = 1.0
MAX_KB_PER_BROWSER: Final = 60.0
MAX_FIRST_EVENT_SECONDS: Final = 1.0
_KB: Final = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much of everything."""

    few: int
    many: int
    """Browsers."""
    seconds: float
    """For which they read."""
    first_events: int
    """Streams that are opened through each proxy."""


FULL: Final = Size(few=20, many=1_000, seconds=20, first_events=20)


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """The running BFF."""

    url: str
    metrics_url: str
    cookie: str = field(repr=False)
    pid: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """What a number of browsers has received."""

    browsers: int
    ages: Sequence[float]
    """Seconds."""
    kb_per_browser: float
    upstream: float
    """Streams of the BFF to the catalog."""
    cpu_share: float
    """Of one CPU, of the BFF."""


@asynccontextmanager
async def served(directory: Path, cluster: Cluster) -> AsyncIterator[Served]:
    """Run the BFF, and yield it with a session."""
    address, metrics = free_addresses(2)
    settings = {
        "BFF_LISTEN_ADDRESS": address,
        "BFF_METRICS_ADDRESS": metrics,
        "BFF_CATALOG_ADDRESS": cluster.replicas[0].address,
        "BFF_DEV_LOGIN": "1",
        "BFF_MAX_STREAMS_PER_SUBJECT": "5000",
        "BFF_LOG_LEVEL": "WARNING",
    }
    machine.create_directory(directory)
    async with ProcessGroup(directory=ROOT, logs=directory) as processes:
        await processes.start("bff", "-m", "catalogsync_bff", settings=settings)
        async with asyncio.timeout(READY_TIMEOUT_SECONDS):
            cookie = await processes.supervise(_log_in(f"http://{address}"))
        yield Served(
            url=f"http://{address}",
            metrics_url=f"http://{metrics}/metrics",
            cookie=cookie,
            pid=processes.pids["bff"],
        )


async def _log_in(url: str) -> str:
    async with aiohttp.ClientSession(headers={"X-Requested-With": "catalogsync"}) as session:
        while True:
            try:
                async with session.post(f"{url}/session/dev") as response:
                    if response.status == 201:
                        return "; ".join(f"{one.key}={one.value}" for one in response.cookies.values())
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


async def _watched(bff: Served, count: int, seconds: float) -> Watched:
    before = machine.private_mb(bff.pid)
    async with opened(bff.url, EVENTS, bff.cookie, count=count) as browsers:
        for browser in browsers:
            browser.ages.clear()
        cpu = machine.cpu_seconds(bff.pid)
        await asyncio.sleep(seconds)
        cpu = machine.cpu_seconds(bff.pid) - cpu
        after, upstream = machine.private_mb(bff.pid), await _upstream_streams(bff)
        ages = [age for browser in browsers for age in browser.ages]
    if not ages:
        raise BenchFailed("no browser has received an event")
    return Watched(
        browsers=count,
        ages=ages,
        kb_per_browser=(after - before) * _KB / count,
        upstream=upstream,
        cpu_share=cpu / seconds,
    )


async def _upstream_streams(bff: Served) -> float:
    async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(bff.metrics_url) as response:
        families = text_string_to_metric_families(await response.text())
        samples = {sample.name: sample.value for family in families for sample in family.samples}
    return samples["bff_watched_syncs"] + samples["bff_feeds"]


async def _first_events(bff: Served, directory: Path, count: int) -> Mapping[str, Sequence[float]]:
    """Return the seconds to the first event by proxy; "none": directly."""

    async def measured(url: str) -> Sequence[float]:
        found = []
        for _ in range(count):
            async with opened(url, EVENTS, bff.cookie, count=1) as (browser,):
                found.append(await browser.first_event)
        return found

    seconds = {"none": await measured(bff.url)}
    for proxy in REVERSE_PROXIES:
        if proxy.program is None:
            print(f"{proxy.name} is not installed and was not measured")
            continue
        async with proxy.running(bff.url.removeprefix("http://"), directory) as url:
            seconds[proxy.name] = await measured(url)
    return seconds


def _targets(few: Watched, many: Watched, first: Mapping[str, Sequence[float]]) -> list[Target]:
    ages = [
        Target(
            name=f"{watched.browsers:,} browsers: age of an event, p95",
            value=round(percentile(watched.ages, 95), 3),
            unit="s",
            wanted=MAX_AGE_SECONDS,
            at="most",
        )
        for watched in (few, many)
    ]
    memory = Target(
        name=f"{many.browsers:,} browsers: memory of each",
        value=round(many.kb_per_browser, 1),
        unit="KB",
        wanted=MAX_KB_PER_BROWSER,
        at="most",
    )
    upstream = Target(
        name=f"{many.browsers:,} browsers, one sync: streams upstream",
        value=many.upstream,
        unit="",
        wanted=2,
        at="most",
    )
    return [*ages, memory, upstream, *(_first_target(proxy, seconds) for proxy, seconds in first.items())]


def _first_target(proxy: str, seconds: Sequence[float]) -> Target:
    return Target(
        name="first event, without a proxy" if proxy == "none" else f"first event through {proxy}",
        value=round(max(seconds), 3),
        unit="s",
        wanted=MAX_FIRST_EVENT_SECONDS,
        at="most",
    )


def _report(few: Watched, many: Watched, first: Mapping[str, Sequence[float]]) -> None:
    rows = [
        (
            f"{one.browsers:,}",
            f"{median(one.ages) * 1_000:.0f}",
            f"{percentile(one.ages, 95) * 1_000:.0f}",
            f"{percentile(one.ages, 99) * 1_000:.0f}",
            f"{len(one.ages):,}",
            f"{one.kb_per_browser:.1f}",
            f"{one.cpu_share:.2f}",
            f"{one.upstream:.0f}",
        )
        for one in (few, many)
    ]
    columns = ("browsers", "age p50 ms", "p95 ms", "p99 ms", "events", "KB each", "CPUs", "streams upstream")
    print_table("Events from the commit to browsers", columns, rows)
    rows_of_proxies = [
        (proxy, f"{median(seconds) * 1_000:.0f}", f"{max(seconds) * 1_000:.0f}")
        for proxy, seconds in first.items()
    ]
    print_table("First event of a stream", ("through", "p50 ms", "max ms"), rows_of_proxies)
    targets = _targets(few, many, first)
    print_targets(targets)
    figures = {
        "age_ms": {
            str(one.browsers): {
                f"p{percent}": round(percentile(one.ages, percent) * 1_000, 1) for percent in (50, 95, 99)
            }
            for one in (few, many)
        },
        "kb_per_browser": round(many.kb_per_browser, 1),
        "cpu_share": {str(one.browsers): round(one.cpu_share, 3) for one in (few, many)},
        "first_event_ms": {proxy: round(max(seconds) * 1_000, 1) for proxy, seconds in first.items()},
    }
    print_result("bff", {"targets": [target.to_json() for target in targets], "ratios": {}, "figures": figures})


async def _bench(size: Size) -> None:
    with temporary_directory("bff") as place:
        tls = place / "tls"
        async with (
            running_slow_shops(place / "store", [SHOP], tls=tls, latency_ms=LATENCY_MS) as (shop,),
            running_cluster(place / "cluster", [shop], ca_file=str(tls / "ca.pem")) as cluster,
            served(place / "bff", cluster) as bff,
        ):
            await start_running_sync(cluster.replicas[0].client, shop)
            few = await _watched(bff, size.few, size.seconds)
            many = await _watched(bff, size.many, size.seconds)
            first = await _first_events(bff, place, size.first_events)
    _report(few, many, first)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m bench.bff", description=__doc__)
    parser.add_argument("--browsers", type=int, default=FULL.many, help="of the large case (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=FULL.seconds, help="of each case (default: %(default)s)")
    options = parser.parse_args()
    asyncio.run(
        _bench(Size(few=FULL.few, many=options.browsers, seconds=options.seconds, first_events=FULL.first_events))
    )


if __name__ == "__main__":
    main()
