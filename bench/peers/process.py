"""Runs a peer as a process of its own on a database of its own, and looks at what it did."""

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

from sqlalchemy import text
from sqlalchemy.engine import make_url

from bench.common import machine
from bench.common.measure import BenchFailed
from bench.common.stack import ROOT, Stack, Store
from bench.peers.job import Job, Told
from catalog_svc.storage.engine import open_engine
from demo.processes import last_lines

_DATABASE = "peer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """Someone to compare with."""

    name: str
    module: str
    counts: str
    """SQL that tells how many items it has stored."""
    python: str = sys.executable
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerRun:
    """One load by a peer."""

    name: str
    items: int
    told: Told
    postgresql_cpu: float
    store_cpu: float

    @property
    def rows_per_second(self) -> float:
        """Items per second, without the start of the process."""
        return self.items / self.told.seconds


async def run_peer(peer: Peer, place: Path, stack: Stack, store: Store) -> PeerRun:
    """A first load into an empty database of the stack's PostgreSQL. Raises BenchFailed unless all items came."""
    async with _database(stack) as url:
        job = Job(
            platform=store.name.platform,
            base_url=store.base_url,
            ca_file=store.ca_file,
            credentials=store.credentials,
            database_url=url,
            directory=str(place),
            options=dict(peer.options),
        )
        job.write(place / "job.json")
        before = machine.family_cpu_seconds(stack.postmaster_pid), machine.cpu_seconds(store.pid)
        told = await stack.family.supervise(store.family.supervise(_told(peer, place)))
        after = machine.family_cpu_seconds(stack.postmaster_pid), machine.cpu_seconds(store.pid)
        items = await _count(url, peer.counts)
    if items != store.items:
        raise BenchFailed(f"{peer.name} stored {items:,} items, not {store.items:,}")
    return PeerRun(
        name=peer.name, items=items, told=told, postgresql_cpu=after[0] - before[0], store_cpu=after[1] - before[1]
    )


async def _told(peer: Peer, place: Path) -> Told:
    log = place / "log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            peer.python,
            "-m",
            peer.module,
            str(place / "job.json"),
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
            # With all that it started, also when the benchmark is stopped.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise BenchFailed(f"{peer.name} ended with code {process.returncode}:\n{last_lines(log, 15)}")
    return Told(**json.loads(output.splitlines()[-1]))


@asynccontextmanager
async def _database(stack: Stack) -> AsyncIterator[str]:
    async def tell(statement: str) -> None:
        async with stack.engine.connect() as connection:
            connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text(statement))

    await tell(f"CREATE DATABASE {_DATABASE}")
    try:
        # The same start as our own sync has.
        await tell("CHECKPOINT")
        yield make_url(stack.database_url).set(database=_DATABASE).render_as_string(hide_password=False)
    finally:
        await tell(f"DROP DATABASE {_DATABASE} WITH (FORCE)")


async def _count(database_url: str, statement: str) -> int:
    engine = open_engine(database_url, pool_size=1)
    try:
        async with engine.connect() as connection:
            return int((await connection.execute(text(statement))).scalar_one())
    finally:
        await engine.dispose()
