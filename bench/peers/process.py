"""The peers of each kind of shop, and how one is run and measured: in its own process, on its own database."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.engine import make_url

from bench.common import machine
from bench.common.measure import BenchFailed
from bench.common.results import ROOT
from bench.common.stack import Stack
from bench.common.store import Store
from bench.peers.job import Job, PeerReport
from catalog_svc.storage.engine import open_engine
from demo.processes import last_lines

_DATABASE = "peer"
_DLT_ITEM_COUNT: Final = """
    SELECT (SELECT count(*) FROM woo.variations) + (SELECT count(*) FROM woo.products WHERE type <> 'variable')"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """A program to compare with."""

    name: str
    """Its name in results."""
    module: str
    item_count_query: str
    """SQL that returns how many items it has stored."""
    python: str = sys.executable
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerRun:
    """One load by a peer."""

    name: str
    items: int
    report: PeerReport
    postgresql_cpu: float
    store_cpu: float

    @property
    def rows_per_second(self) -> float:
        """Items per second, without the start of the process."""
        return self.items / self.report.seconds


def dlt(tuning: str) -> Peer:
    """Return dlt with its `default` settings or `tuned`, see `bench.peers.dlt_woocommerce`."""
    return Peer(
        name=f"dlt {tuning}",
        module="bench.peers.dlt_woocommerce",
        item_count_query=_DLT_ITEM_COUNT,
        python=str(ROOT / ".venv-bench" / "bin" / "python"),
        options={"tuning": tuning},
    )


def legacy(name: str = "legacy services", *, pause_seconds: float = 0.0, variations: str = "together") -> Peer:
    """Return the legacy services in miniature, see `bench.peers.legacy`.

    Args:
        name: Its name in results.
        pause_seconds: Sleep after each page.
        variations: How the variations of a product are read: "together" or "one by one".
    """
    return Peer(
        name=name,
        module="bench.peers.legacy",
        item_count_query="SELECT count(*) FROM item",
        options={"pause": str(pause_seconds), "variations": variations},
    )


def peers_of(kind: str, *, pauses: bool, smoke: bool) -> tuple[Peer, ...]:
    """Return the peers that read shops of this kind. All WooCommerce stores are the same for them.

    Args:
        kind: See `bench.common.store.KINDS`.
        pauses: Whether to include the legacy services with their pauses.
        smoke: Only the peers that the ratios need.
    """
    old = (legacy(), *([legacy("legacy services with pauses", pause_seconds=0.5)] if pauses else []))
    if smoke:
        return {"shopify": old[:1], "woocommerce-10.3": (dlt("tuned"), *old[:1])}.get(kind, ())
    return {"shopify": old, "woocommerce-10.3": (dlt("default"), dlt("tuned"), *old)}.get(kind, ())


async def run_peer(peer: Peer, directory: Path, stack: Stack, store: Store) -> PeerRun:
    """Run a first load of the store's shop into an empty database of the stack's PostgreSQL.

    Args:
        peer: The peer to run.
        directory: New directory for its files.
        stack: Running services; only their PostgreSQL is used.
        store: Store with one shop.

    Raises:
        BenchFailed: The peer failed or did not store all items.
    """
    shop = store.shop
    async with _empty_database(stack) as url:
        job = Job(
            platform=shop.name.platform,
            base_url=shop.base_url,
            ca_file=store.ca_file,
            credentials=shop.credentials,
            database_url=url,
            directory=str(directory),
            options=dict(peer.options),
        )
        job.write(directory / "job.json")
        before = machine.tree_cpu_seconds(stack.postmaster_pid), machine.cpu_seconds(store.pid)
        report = await stack.processes.supervise(store.processes.supervise(_run(peer, directory)))
        after = machine.tree_cpu_seconds(stack.postmaster_pid), machine.cpu_seconds(store.pid)
        items = await _item_count(url, peer.item_count_query)
    if items != shop.items:
        raise BenchFailed(f"{peer.name} stored {items:,} items, not {shop.items:,}")
    return PeerRun(
        name=peer.name,
        items=items,
        report=report,
        postgresql_cpu=after[0] - before[0],
        store_cpu=after[1] - before[1],
    )


async def _run(peer: Peer, directory: Path) -> PeerReport:
    log = directory / "log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            peer.python,
            "-m",
            peer.module,
            str(directory / "job.json"),
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        try:
            output, _ = await process.communicate()
        finally:
            # With all its children, also when the benchmark is cancelled.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise BenchFailed(f"{peer.name} ended with code {process.returncode}:\n{last_lines(log, 15)}")
    return PeerReport(**json.loads(output.splitlines()[-1]))


@asynccontextmanager
async def _empty_database(stack: Stack) -> AsyncIterator[str]:
    async def execute(statement: str) -> None:
        async with stack.engine.connect() as connection:
            connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text(statement))

    await execute(f"CREATE DATABASE {_DATABASE}")
    try:
        # The same start as our own sync has.
        await execute("CHECKPOINT")
        yield make_url(stack.database_url).set(database=_DATABASE).render_as_string(hide_password=False)
    finally:
        await execute(f"DROP DATABASE {_DATABASE} WITH (FORCE)")


async def _item_count(database_url: str, query: str) -> int:
    engine = open_engine(database_url, pool_size=1)
    try:
        async with engine.connect() as connection:
            return int((await connection.execute(text(query))).scalar_one())
    finally:
        await engine.dispose()
