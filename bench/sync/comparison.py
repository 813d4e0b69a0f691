"""Syncs of one shop by all its ways, and its loads by peers, taking turns on one store.

The ways in which we read shops, and who reads the same shops beside us."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from bench.common.measure import BenchFailed, Measured, Medians, measured_sync, middle
from bench.common.stack import ROOT, Store, running_stack
from bench.peers.clients import teach
from bench.peers.process import Peer, PeerRun, run_peer

FIRST, AGAIN, CHANGED = STEPS = ("first load", "nothing changed", "1 % changed")
Round = dict[str, Measured]
"""By step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is done with a shop."""

    ways: tuple[Way, ...]
    peers: tuple[Peer, ...] = ()
    rounds: int = 3
    peer_rounds: int = 3
    again: bool = True
    """Whether each first load is followed by a re-sync with nothing and one with 1 % changed."""
    taught: bool = True
    """Whether the store learns its answers before; without that it is measured, too."""
    delay_ms: int = 0
    """Of each of the store's answers, once it has learnt them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerMedians:
    """Medians over repetitions, each figure for itself."""

    repetitions: int
    items: int
    seconds: float
    rows_per_second: int
    cpu_per_100k: dict[str, float]
    """Seconds per 100,000 items: of the peer's processes, PostgreSQL and the store."""
    peak_mb: float
    """The highest peak RSS of the peer's process."""
    largest_child_mb: float
    """The same of the largest process that it started."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """All that was measured with one shop."""

    items: int
    ours: dict[str, dict[str, Medians]]
    """By way and step."""
    seconds: dict[str, float]
    """Of the first load, by way."""
    peers: dict[str, PeerMedians]


async def compared(place: Path, store: Store, plan: Plan) -> Compared:
    """Teaches the store in a round that is not counted, then lets all take turns. Raises BenchFailed."""
    if plan.taught:
        await _teach(place, store, plan)
    await store.delay(plan.delay_ms)
    ours: dict[str, list[Round]] = {way.name: [] for way in plan.ways}
    peers: dict[str, list[PeerRun]] = {peer.name: [] for peer in plan.peers}
    for number in range(plan.rounds):
        for way in plan.ways:
            beside = plan.peers if way == plan.ways[-1] and number < plan.peer_rounds else ()
            async with _from_memory(store, plan):
                done, loads = await _ours(
                    place / f"{number}-{way.name}", store, way, plan, beside, dead=number == 0
                )
            ours[way.name].append(done)
            for load in loads:
                peers[load.name].append(load)
    return Compared(
        items=store.items,
        ours={name: _medians(rounds) for name, rounds in ours.items()},
        seconds={name: median(one[FIRST].seconds for one in rounds) for name, rounds in ours.items()},
        peers={name: _peer_medians(loads) for name, loads in peers.items()},
    )


async def _teach(place: Path, store: Store, plan: Plan) -> None:
    for way in plan.ways:
        await _ours(place / f"taught-{way.name}", store, way, plan, ())
    if plan.peers:
        await teach(store)


async def _ours(
    place: Path, store: Store, way: Way, plan: Plan, peers: Sequence[Peer], *, dead: bool = False
) -> tuple[Round, list[PeerRun]]:
    """On fresh services and an empty database; the peers use the same PostgreSQL after that."""
    done: Round = {}
    dead = dead and plan.again
    async with running_stack(place, store, connector_settings=way.settings) as stack:
        await store.choose(0)
        given = (await store.answers()).given
        done[FIRST] = await measured_sync(stack, store, strategy=way.strategy, count_dead=dead)
        _check_way(way, (await store.answers()).given - given, store)
        if plan.again:
            done[AGAIN] = await measured_sync(stack, store, strategy=way.strategy, count_dead=dead)
            await store.choose(1)
            done[CHANGED] = await measured_sync(stack, store, strategy=way.strategy, count_dead=dead)
            await store.choose(0)
        _check(done, store)
        loads = [await run_peer(peer, place / peer.name, stack, store) for peer in peers]
    return done, loads


@asynccontextmanager
async def _from_memory(store: Store, plan: Plan) -> AsyncIterator[None]:
    """Raises BenchFailed if a store that was taught had to work something out: then it was measured, too."""
    before = (await store.answers()).worked_out
    yield
    worked_out = (await store.answers()).worked_out - before
    if worked_out and plan.taught:
        raise BenchFailed(f"the store had to work out {worked_out} answers that nobody had asked for before")


def _check_way(way: Way, calls: int, store: Store) -> None:
    if not way.is_taken(calls, store):
        raise BenchFailed(f"{calls:,} calls for {store.products:,} products are not those of {way.name}")


def _check(done: Round, store: Store) -> None:
    """Each sync did what its name says, or its figures mean nothing."""
    wanted = {FIRST: (store.items, 0), AGAIN: (0, 0), CHANGED: (0, store.products // 100)}
    for step, measured in done.items():
        if (measured.created, measured.updated) != wanted[step]:
            raise BenchFailed(
                f"{step}: {measured.created:,} items were created and {measured.updated:,} updated, "
                f"not {wanted[step][0]:,} and {wanted[step][1]:,}"
            )


def _medians(rounds: Sequence[Round]) -> dict[str, Medians]:
    return {step: middle([one[step] for one in rounds]) for step in rounds[0]}


def _peer_medians(loads: Sequence[PeerRun]) -> PeerMedians:
    """Of at least one load."""
    items = loads[0].items

    def cpu(seconds: Sequence[float]) -> float:
        return round(median(seconds) / items * 100_000, 2)

    return PeerMedians(
        repetitions=len(loads),
        items=items,
        seconds=round(median(one.told.seconds for one in loads), 2),
        rows_per_second=round(median(one.rows_per_second for one in loads)),
        cpu_per_100k={
            "peer": cpu([one.told.cpu_seconds for one in loads]),
            "postgresql": cpu([one.postgresql_cpu for one in loads]),
            "store": cpu([one.store_cpu for one in loads]),
        },
        peak_mb=round(max(one.told.peak_mb for one in loads), 1),
        largest_child_mb=round(max(one.told.largest_child_mb for one in loads), 1),
    )


_DLT_COUNTS: Final = """
    SELECT (SELECT count(*) FROM woo.variations) + (SELECT count(*) FROM woo.products WHERE type <> 'variable')"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One way to read one kind of shop."""

    name: str
    kind: str
    """See `bench.common.store`."""
    strategy: str
    """What the stream's header calls it."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the connector, so that it takes this way."""
    calls_by_product: bool = False
    """Whether each variable product takes a call."""

    def is_taken(self, calls: int, store: Store) -> bool:
        """Whether so many calls for the whole store are those of this way."""
        return (calls > store.products / 4) if self.calls_by_product else (calls < store.products / 10 + 20)


def _shopify(strategy: str) -> Way:
    return Way(
        name=f"shopify-{strategy}",
        kind="shopify",
        strategy=strategy,
        settings={"CONNECTOR_SHOPIFY_STRATEGY": strategy},
    )


WAYS: Final = (
    _shopify("paging"),
    _shopify("bulk"),
    Way(name="woocommerce-bulk", kind="woocommerce-10.3", strategy="paging"),
    Way(name="woocommerce-dashboard", kind="woocommerce-8.2", strategy="paging"),
    Way(name="woocommerce-plain", kind="woocommerce-plain", strategy="paging", calls_by_product=True),
)
"""WooCommerce with a bulk route for variations, with the one that is for its own dashboard, and with none."""


def dlt(tuning: str) -> Peer:
    """`default` or `tuned`."""
    return Peer(
        name=f"dlt {tuning}",
        module="bench.peers.dlt_woocommerce",
        counts=_DLT_COUNTS,
        python=str(ROOT / ".venv-bench" / "bin" / "python"),
        options={"tuning": tuning},
    )


def old_design(name: str = "old design", *, pause: float = 0.0, variations: str = "together") -> Peer:
    """`pause` is in seconds after each page; `variations` are read "together" or "one by one"."""
    return Peer(
        name=name,
        module="bench.peers.legacy",
        counts="SELECT count(*) FROM item",
        options={"pause": str(pause), "variations": variations},
    )


def peers_of(kind: str, *, pauses: bool, smoke: bool) -> tuple[Peer, ...]:
    """Who reads shops of this kind beside us. For them all WooCommerce stores are the same."""
    old = (old_design(), *([old_design("old design with pauses", pause=0.5)] if pauses else []))
    if smoke:
        return {"shopify": old[:1], "woocommerce-10.3": (dlt("tuned"), *old[:1])}.get(kind, ())
    return {"shopify": old, "woocommerce-10.3": (dlt("default"), dlt("tuned"), *old)}.get(kind, ())
