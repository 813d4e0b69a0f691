"""The gap experiment: does a follower of the feeds miss a change, whatever the order in which transactions commit?

Writers of several shops store batches of syncs and refreshes over transactions that take random times and are
rolled back at random. Their processes are killed, and PostgreSQL is stopped immediately. Followers of WatchItems
and WatchChanges read all the time from two replicas. They must have read each change that was committed; a reader
of the same changes by a sequence, the control, loses some: it passes numbers whose transactions commit later.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync_common.channel import open_channel

from catalog_svc.storage.database import Database
from catalog_svc.storage.embedded import service_url
from catalog_svc.storage.engine import open_engine
from catalog_svc.storage.sync_commands import SyncCommandStore
from demo.processes import last_lines, process_environment
from tests.chaos.instance import ROOT, Instance
from tests.chaos.postgres import Postgres, running_postgres
from tests.chaos.replicas import connected, prepare_database, start_replicas
from tests.chaos.system import free_port
from tests.feed.gap_readers import JOURNAL, ChangesFollower, ItemsFollower, NumberReader
from tests.feed.gap_report import AnyFollower, GapReport, read_truth
from tests.feed.gap_writer import SHOPS, start_command
from tests.feed.pauses import pause
from tests.waiting import until, until_found

_KINDS: Final = ("sync", "refresh", "refresh", "refresh")
"""Of the four writers of each shop."""
_FAULTS: Final = ("writer",) * 5 + ("postgres",) + ("writer",) * 3 + ("replica",)
"""What is killed, again and again in this order."""

_COUNT: Final = "SELECT count(*) FROM gap_journal"
_COUNT_UP_TO: Final = "SELECT count(*) FROM gap_journal WHERE number <= $1"
_OPEN_TRANSACTIONS: Final = """
    SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()"""


@dataclass(frozen=True, kw_only=True, slots=True)
class GapConfig:
    """Size of the experiment."""

    changes: int
    """Changed items that are committed at least."""
    processes: int = 16
    """The 16 writers are distributed over so many; a divisor of 16."""
    fault_seconds: tuple[float, float] = (0.5, 4)
    """Between two faults."""
    least_faults: int = len(_FAULTS)
    changes_per_fault: int = 50
    """Committed at least between two faults: on a busy machine processes start slowly, and have to write."""


async def run_gap(directory: Path, config: GapConfig, *, seed: int) -> GapReport:
    """Run the experiment in `directory`, and return what was lost."""
    report = GapReport()
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(running_postgres(directory / "postgres", free_port()))
        await prepare_database(postgres, journal=JOURNAL)
        replicas = await start_replicas(stack, postgres, directory)
        stubs = {
            replica.name: CatalogServiceStub(await stack.enter_async_context(open_channel(replica.address)))
            for replica in replicas
        }
        run = _Run(postgres, replicas, config, report, directory, Random(seed))
        await run.write_and_read(stubs)
    return report


async def _register_shops(postgres: Postgres) -> list[str]:
    """Start a sync of each shop, which a writer will claim, and return the ids of the shops."""
    engine = open_engine(service_url(postgres.url), pool_size=1)
    try:
        commands = SyncCommandStore(Database(engine))
        started = [await commands.start(start_command(key)) for key in SHOPS]
    finally:
        await engine.dispose()
    return [str(sync.shop.shop_id) for sync in started]


class WriterProcess:
    """A process of writers, across all of its restarts."""

    def __init__(self, name: str, url: str, kinds: Sequence[str], directory: Path) -> None:
        self.name = name
        self.output = directory / f"{name}.out"
        self.log = directory / f"{name}.log"
        self._url = url
        self._kinds = kinds
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, seed: int) -> None:
        """Start a new process."""
        with self.output.open("ab") as output, self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.feed.gap_writer", self._url, str(seed), *self._kinds,
                cwd=ROOT,
                env=process_environment(os.environ, {}),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=log,
            )  # fmt: skip

    async def kill(self) -> str | None:
        """Kill the process; return what happened if it had ended before."""
        assert self._process is not None
        if self._process.returncode is not None:
            return f"{self.name} exited with code {self._process.returncode}: {last_lines(self.log, 5)}"
        self._process.kill()
        await self._process.wait()
        return None


class _Run:
    """The writers, the faults, the followers and the checks of one run."""

    def __init__(
        self,
        postgres: Postgres,
        replicas: Sequence[Instance],
        config: GapConfig,
        report: GapReport,
        directory: Path,
        chance: Random,
    ) -> None:
        self._postgres = postgres
        self._replicas = replicas
        self._config = config
        self._report = report
        self._chance = chance
        kinds = [kind for kind in _KINDS for _ in SHOPS]
        self._writers = [
            WriterProcess(f"writer-{n}", service_url(postgres.url), kinds[n :: config.processes], directory)
            for n in range(config.processes)
        ]
        self._control = NumberReader(postgres.connect)

    async def write_and_read(self, stubs: dict[str, CatalogServiceStub]) -> None:
        """Run everything, and fill the report."""
        shop_ids = await _register_shops(self._postgres)
        items = [ItemsFollower(name, stub, shop_id) for name, stub in stubs.items() for shop_id in shop_ids]
        changes = [ChangesFollower(name, stub) for name, stub in stubs.items()]
        followers: list[AnyFollower] = [*items, *changes]
        reading = [asyncio.create_task(one.run()) for one in followers]
        reading.append(asyncio.create_task(self._control.run()))
        try:
            # Before the first write: a follower that begins later is sent the shops as they are.
            await until(lambda: all(follower.caught_up_count for follower in followers))
            await asyncio.gather(*(self._start(writer) for writer in self._writers))
            await self._inject_faults()
            await self._stop_writing()
            await self._check(items, changes)
        finally:
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
            for writer in self._writers:
                await writer.kill()

    async def _start(self, writer: WriterProcess) -> None:
        await writer.start(self._chance.randrange(2**32))

    async def _inject_faults(self) -> None:
        """Kill writers, and stop PostgreSQL now and then, until enough changes are committed.

        On a busy machine the control may read too seldom to lose anything. The run goes on then, since it would
        show nothing.
        """
        faults = {"writer": self._kill, "postgres": self._crash, "replica": self._kill_replica}
        committed = 0
        for count in itertools.count():
            await pause(*self._config.fault_seconds)
            committed = await self._until_committed(committed + self._config.changes_per_fault)
            enough = committed >= self._config.changes and count >= self._config.least_faults
            if enough and await self._control_has_lost():
                return
            await faults[_FAULTS[count % len(_FAULTS)]]()

    async def _until_committed(self, least: int) -> int:
        """Wait until so many changes are committed, and return how many are."""
        async with connected(self._postgres) as connection:

            async def committed() -> int | None:
                count: int = await connection.fetchval(_COUNT)
                return count if count >= least else None

            return await until_found(committed)

    async def _control_has_lost(self) -> bool:
        last, count = self._control.last, len(self._control.numbers)
        async with connected(self._postgres) as connection:
            return int(await connection.fetchval(_COUNT_UP_TO, last)) > count

    async def _crash(self) -> None:
        self._report.crashes += 1
        await self._postgres.crash()
        await pause(0.1, 1)
        await self._postgres.start()

    async def _kill(self) -> None:
        writer = self._chance.choice(self._writers)
        self._report.kills += 1
        self._report.violations += filter(None, (await writer.kill(),))
        await self._start(writer)

    async def _kill_replica(self) -> None:
        replica = self._chance.choice(self._replicas)
        self._report.replica_kills += 1
        replica.signal(signal.SIGKILL)
        await replica.wait_for_exit()
        await replica.start()

    async def _stop_writing(self) -> None:
        """Kill all writers, and wait until the server has ended their transactions."""
        for writer in self._writers:
            self._report.violations += filter(None, (await writer.kill(),))

        async def ended() -> bool | None:
            async with connected(self._postgres) as connection:
                return await connection.fetchval(_OPEN_TRANSACTIONS) == 0 or None

        await until_found(ended)

    async def _check(self, items: Sequence[ItemsFollower], changes: Sequence[ChangesFollower]) -> None:
        """Let the followers read what is left, and fill the report."""
        report = self._report
        async with connected(self._postgres) as connection:
            await self._control.read(connection)
            truth = await read_truth(connection)
        # What is lost is not read later either: the wait ends without it.
        with suppress(TimeoutError):
            await until(truth.missing(items, changes).all_read)
        report.compare(truth, items, changes, self._control)
        report.violations += [violation for one in self._replicas for violation in one.violations]
        report.rolled_back = sum(len(writer.output.read_bytes().splitlines()) for writer in self._writers)
