"""Breaks things at random, by a seed."""

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

ALL = {
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
"""How often, against each other."""
ZOMBIES = {"freeze_catalog": 6, "cut": 2, "drop": 2}
"""What a missing fence shows under soonest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """A life of a replica that was taken, for ever or for a while."""

    identity: str
    at: float
    kind: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How hard."""

    pause: tuple[float, float] = (0.3, 1.4)
    """Seconds between two faults."""
    lease_ttl: float = 2.0
    most_frozen: float = 2.5
    """Seconds above the TTL."""
    longest_takeover: float = 7.0
    """Seconds: the TTL and 5, while the database can be reached."""
    spare_database: float = 8.0
    """Seconds between its return and its next crash: one that is never there proves nothing."""
    linger: tuple[float, float] = (3.0, 12.0)
    """Seconds until a half-open connection is reset."""


class Nemesis:
    """One fault after the other; what it broke it mends, in the background."""

    def __init__(
        self,
        *,
        catalogs: Sequence[Instance],
        connectors: Sequence[Instance],
        postgres: Postgres,
        proxies: Mapping[str, FaultProxy],
        random: Random,
        limits: Limits,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.losses: list[Loss] = []
        self.database_returns: list[float] = []
        """When it took connections again after a crash."""
        self.storms: list[tuple[float, float]] = []
        """When the database was away, slow or silent: a takeover then waits for it."""
        self._catalogs = catalogs
        self._connectors = connectors
        self._postgres = postgres
        self._proxies = proxies
        self._random = random
        self._limits = limits
        self._mending: list[asyncio.Task[None]] = []
        self._database_down = False
        self._database_spared_until = 0.0

    async def run(self, seconds: float, weights: Mapping[str, int]) -> None:
        """Breaks for so long, then mends everything. Raises what a mending raised."""
        actions: dict[str, Callable[[], Awaitable[None]]] = {name: getattr(self, name) for name in weights}
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            name = self._random.choices(list(weights), list(weights.values()))[0]
            await actions[name]()
            await asyncio.sleep(self._random.uniform(*self._limits.pause))
            await self._revive_fallen()
        await self.heal()

    async def heal(self) -> None:
        """Waits until everything that was broken is mended."""
        for proxy in self._proxies.values():
            proxy.normal()
        await asyncio.gather(*self._mending)
        await self._revive_fallen()
        await asyncio.gather(*self._mending)
        self._mending.clear()

    async def kill_catalog(self) -> None:
        """SIGKILL, and another life soon after."""
        await self._take(self._catalogs, signal.SIGKILL, "kill")

    async def terminate_catalog(self) -> None:
        """SIGTERM: it hands its syncs over."""
        await self._take(self._catalogs, signal.SIGTERM, "term")

    async def kill_connector(self) -> None:
        """SIGKILL, and another life soon after; at times with all its siblings."""
        await self._take(self._connectors, signal.SIGKILL, "connector_kill")
        if self._random.random() < 0.2:
            await self._take(self._connectors, signal.SIGKILL, "connector_kill", spare=0)

    async def freeze_catalog(self) -> None:
        """SIGSTOP for longer than the lease lives: it wakes as a zombie."""
        instance = self._victim(self._catalogs, spare=1)
        if instance is None:
            return
        seconds = self._limits.lease_ttl + self._random.uniform(0.3, self._limits.most_frozen)
        self._lose(instance, instance.signal(signal.SIGSTOP), "stop")
        self._mend(self._thaw(instance, seconds))

    async def crash_postgres(self) -> None:
        """`pg_ctl -m immediate`, and recovery."""
        if self._database_down or time.time() < self._database_spared_until:
            return
        self._database_down = True
        self.counts["pg_crash"] += 1
        self._mend(self._restart_postgres(self._random.uniform(0.1, 2.5)))

    async def drop(self) -> None:
        """All connections of one proxy are reset."""
        self.counts["dropped_connections"] += self._proxy().drop()
        self.counts["drop"] += 1

    async def cut(self) -> None:
        """All connections of one proxy are reset in the middle of what they say."""
        self.counts["cut_connections"] += self._proxy().cut_after(self._random.randrange(1, 20_000))
        self.counts["cut"] += 1

    async def half_open(self) -> None:
        """All connections of one proxy fall silent, at times new ones too for a while."""
        name, proxy = self._random.choice(list(self._proxies.items()))
        linger = self._random.uniform(*self._limits.linger)
        new_too = self._random.choice((0.0, self._random.uniform(0.5, 3)))
        self.counts["half_open_connections"] += proxy.half_open(linger=linger, new_too=new_too)
        self.counts["half_open"] += 1
        self._note_storm(linger if name.startswith("postgres") else 0)

    async def slow(self) -> None:
        """One proxy delays everything for a while."""
        name, proxy = self._random.choice(list(self._proxies.items()))
        seconds = self._random.uniform(0.5, 2)
        proxy.latency = self._random.uniform(0.02, 0.2)
        self.counts["slow"] += 1
        self._note_storm(seconds if name.startswith("postgres") else 0)
        self._mend(self._speed_up(proxy, seconds))

    async def _revive_fallen(self) -> None:
        """As a supervisor would; the fall itself is told as a fault."""
        for instance in (*self._catalogs, *self._connectors):
            if instance.fallen:
                self.counts["fallen"] += 1
                await instance.ended()
                await instance.start()
                self._mend(instance.ready())

    def _proxy(self) -> FaultProxy:
        return self._random.choice(list(self._proxies.values()))

    def _victim(self, instances: Sequence[Instance], *, spare: int) -> Instance | None:
        """Somebody who is up, while enough others are."""
        able = [instance for instance in instances if instance.up]
        return self._random.choice(able) if len(able) > spare else None

    async def _take(
        self, instances: Sequence[Instance], number: signal.Signals, kind: str, spare: int = 1
    ) -> None:
        instance = self._victim(instances, spare=spare)
        if instance is None:
            return
        self._lose(instance, instance.signal(number), kind)
        self._mend(self._revive(instance, self._random.uniform(0.05, 0.8)))

    def _lose(self, instance: Instance, at: float, kind: str) -> None:
        self.counts[kind] += 1
        if kind != "connector_kill":
            self.losses.append(Loss(identity=instance.identity, at=at, kind=kind))

    def _mend(self, work: Coroutine[Any, Any, None]) -> None:
        # Kept until heal(), which raises what went wrong.
        self._mending.append(asyncio.create_task(work))

    async def _revive(self, instance: Instance, after: float) -> None:
        async with _at_most(25, instance):
            await instance.ended()
        await asyncio.sleep(after)
        await instance.start()
        await instance.ready()

    async def _thaw(self, instance: Instance, after: float) -> None:
        await asyncio.sleep(after)
        instance.signal(signal.SIGCONT)

    async def _restart_postgres(self, after: float) -> None:
        began = time.time()
        await self._postgres.crash()
        await asyncio.sleep(after)
        await self._postgres.start()
        self.database_returns.append(time.time())
        self.storms.append((began, time.time()))
        self._database_down = False
        self._database_spared_until = time.time() + self._limits.spare_database

    async def _speed_up(self, proxy: FaultProxy, after: float) -> None:
        await asyncio.sleep(after)
        proxy.latency = 0.0

    def _note_storm(self, seconds: float) -> None:
        if seconds:
            self.storms.append((time.time(), time.time() + seconds))


@asynccontextmanager
async def _at_most(seconds: float, instance: Instance) -> AsyncIterator[None]:
    """A stop that takes longer is a fault of its own, and becomes a kill."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        instance.deaths.append(f"{instance.identity} did not stop within {seconds:.0f} s")
        await instance.stop()
