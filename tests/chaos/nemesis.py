"""The nemesis injects random faults, in an order that the seed determines."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.chaos.fault_proxy import FaultProxy
from tests.chaos.instance import Instance
from tests.chaos.postgres import Postgres

ALL_FAULTS = {
    "kill_catalog": 30,
    "terminate_catalog": 6,
    "freeze_catalog": 20,
    "kill_connector": 12,
    "crash_postgres": 5,
    "drop": 10,
    "cut": 10,
    "half_open": 5,
    "slow": 4,
}
"""Relative frequency of each method of the nemesis."""
ZOMBIE_FAULTS = {"freeze_catalog": 6, "cut": 2, "drop": 2}
"""The faults that reveal a missing fence soonest."""
_TERMINATION_TIMEOUT_SECONDS = 25


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaLoss:
    """A process of a catalog replica that was killed, terminated or frozen."""

    identity: str
    at: float
    """Unix time."""
    kind: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultLimits:
    """Bounds of the random faults."""

    pause_seconds: tuple[float, float] = (0.3, 1.4)
    """Between two faults."""
    lease_ttl_seconds: float = 2.0
    max_freeze_after_lease_seconds: float = 2.5
    """How much longer than the lease TTL a replica is frozen."""
    max_takeover_seconds: float = 7.0
    """The lease TTL and 5 seconds; applies while the database is reachable."""
    min_database_uptime_seconds: float = 8.0
    """From a restart to the next crash: without it, too little is written for a run to prove anything."""
    half_open_seconds: tuple[float, float] = (3.0, 12.0)
    """Until a half-open connection is reset."""


class Nemesis:
    """Injects one fault after another, and repairs each of them in the background."""

    def __init__(
        self,
        *,
        catalogs: Sequence[Instance],
        connectors: Sequence[Instance],
        postgres: Postgres,
        proxies: Mapping[str, FaultProxy],
        random: Random,
        limits: FaultLimits,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.losses: list[ReplicaLoss] = []
        self.database_recoveries: list[float] = []
        """Unix times at which the database accepted connections again after a crash."""
        self.database_disturbances: list[tuple[float, float]] = []
        """When the database was down, slow or behind half-open connections: takeovers then wait for it."""
        self._catalogs = catalogs
        self._connectors = connectors
        self._postgres = postgres
        self._proxies = proxies
        self._random = random
        self._limits = limits
        self._repairs: list[asyncio.Task[None]] = []
        self._database_down = False
        self._next_database_crash = 0.0

    async def run(self, seconds: float, weights: Mapping[str, int]) -> None:
        """Inject faults for so long, then repair everything.

        Args:
            seconds: How long.
            weights: Relative frequency of each method.

        Raises:
            Exception: The error of a repair that failed.
        """
        actions: dict[str, Callable[[], Awaitable[None]]] = {name: getattr(self, name) for name in weights}
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            name = self._random.choices(list(weights), list(weights.values()))[0]
            await actions[name]()
            await asyncio.sleep(self._random.uniform(*self._limits.pause_seconds))
            await self._restart_exited()
        await self.heal()

    async def heal(self) -> None:
        """Return when everything is repaired."""
        for proxy in self._proxies.values():
            proxy.reset_faults()
        await asyncio.gather(*self._repairs)
        await self._restart_exited()
        await asyncio.gather(*self._repairs)
        self._repairs.clear()

    async def kill_catalog(self) -> None:
        """Send SIGKILL to a replica and restart it soon after."""
        await self._end_random(self._catalogs, signal.SIGKILL, "kill")

    async def terminate_catalog(self) -> None:
        """Send SIGTERM to a replica, which hands its syncs over, and restart it."""
        await self._end_random(self._catalogs, signal.SIGTERM, "term")

    async def kill_connector(self) -> None:
        """Send SIGKILL to a connector, sometimes to all of them, and restart it soon after."""
        await self._end_random(self._connectors, signal.SIGKILL, "connector_kill")
        if self._random.random() < 0.2:
            await self._end_random(self._connectors, signal.SIGKILL, "connector_kill", min_left=0)

    async def freeze_catalog(self) -> None:
        """Freeze a replica (SIGSTOP) until after its leases have expired: it resumes as a zombie."""
        instance = self._random_instance(self._catalogs, min_left=1)
        if instance is None:
            return
        seconds = self._limits.lease_ttl_seconds + self._random.uniform(
            0.3, self._limits.max_freeze_after_lease_seconds
        )
        self._record_loss(instance, instance.signal(signal.SIGSTOP), "stop")
        self._repair_later(self._continue(instance, seconds))

    async def crash_postgres(self) -> None:
        """Stop PostgreSQL with `pg_ctl -m immediate` and restart it, which recovers it from its WAL."""
        if self._database_down or time.time() < self._next_database_crash:
            return
        self._database_down = True
        self.counts["pg_crash"] += 1
        self._repair_later(self._restart_postgres(self._random.uniform(0.1, 2.5)))

    async def drop(self) -> None:
        """Reset all connections of one proxy."""
        self.counts["dropped_connections"] += self._random_proxy().drop()
        self.counts["drop"] += 1

    async def cut(self) -> None:
        """Reset all connections of one proxy in the middle of a message."""
        self.counts["cut_connections"] += self._random_proxy().cut_after(self._random.randrange(1, 20_000))
        self.counts["cut"] += 1

    async def half_open(self) -> None:
        """Make all connections of one proxy half-open, sometimes new connections as well for a while."""
        name, proxy = self._random.choice(list(self._proxies.items()))
        reset_after = self._random.uniform(*self._limits.half_open_seconds)
        new_connections = self._random.choice((0.0, self._random.uniform(0.5, 3)))
        self.counts["half_open_connections"] += proxy.half_open(
            reset_after_seconds=reset_after, new_connections_seconds=new_connections
        )
        self.counts["half_open"] += 1
        self._record_disturbance(name, reset_after)

    async def slow(self) -> None:
        """Add latency to one proxy for a while."""
        name, proxy = self._random.choice(list(self._proxies.items()))
        seconds = self._random.uniform(0.5, 2)
        proxy.latency_seconds = self._random.uniform(0.02, 0.2)
        self.counts["slow"] += 1
        self._record_disturbance(name, seconds)
        self._repair_later(self._remove_latency(proxy, seconds))

    async def _restart_exited(self) -> None:
        """Restart what exited unexpectedly, as a process supervisor would; the exit itself is a violation."""
        for instance in (*self._catalogs, *self._connectors):
            if instance.exited_unexpectedly:
                self.counts["unexpected_exits"] += 1
                await instance.wait_for_exit()
                await instance.start()
                self._repair_later(instance.wait_until_ready())

    def _random_proxy(self) -> FaultProxy:
        return self._random.choice(list(self._proxies.values()))

    def _random_instance(self, instances: Sequence[Instance], *, min_left: int) -> Instance | None:
        """Return an instance that is up; None: fewer than `min_left` others would be left."""
        up = [instance for instance in instances if instance.up]
        return self._random.choice(up) if len(up) > min_left else None

    async def _end_random(
        self, instances: Sequence[Instance], number: signal.Signals, kind: str, min_left: int = 1
    ) -> None:
        instance = self._random_instance(instances, min_left=min_left)
        if instance is None:
            return
        self._record_loss(instance, instance.signal(number), kind)
        self._repair_later(self._restart(instance, self._random.uniform(0.05, 0.8)))

    def _record_loss(self, instance: Instance, at: float, kind: str) -> None:
        self.counts[kind] += 1
        if kind != "connector_kill":
            self.losses.append(ReplicaLoss(identity=instance.identity, at=at, kind=kind))

    def _record_disturbance(self, proxy_name: str, seconds: float) -> None:
        if proxy_name.startswith("postgres"):
            self.database_disturbances.append((time.time(), time.time() + seconds))

    def _repair_later(self, repair: Coroutine[Any, Any, None]) -> None:
        # Kept until heal(), which raises the errors.
        self._repairs.append(asyncio.create_task(repair))

    async def _restart(self, instance: Instance, delay_seconds: float) -> None:
        async with _killed_after(_TERMINATION_TIMEOUT_SECONDS, instance):
            await instance.wait_for_exit()
        await asyncio.sleep(delay_seconds)
        await instance.start()
        await instance.wait_until_ready()

    async def _continue(self, instance: Instance, delay_seconds: float) -> None:
        await asyncio.sleep(delay_seconds)
        instance.signal(signal.SIGCONT)

    async def _restart_postgres(self, delay_seconds: float) -> None:
        crashed_at = time.time()
        await self._postgres.crash()
        await asyncio.sleep(delay_seconds)
        await self._postgres.start()
        self.database_recoveries.append(time.time())
        self.database_disturbances.append((crashed_at, time.time()))
        self._database_down = False
        self._next_database_crash = time.time() + self._limits.min_database_uptime_seconds

    async def _remove_latency(self, proxy: FaultProxy, delay_seconds: float) -> None:
        await asyncio.sleep(delay_seconds)
        proxy.latency_seconds = 0.0


@asynccontextmanager
async def _killed_after(seconds: float, instance: Instance) -> AsyncIterator[None]:
    """Kill the instance when the block takes longer, and record that as a violation."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        instance.violations.append(f"{instance.identity} did not stop within {seconds:.0f} s")
        await instance.stop()
