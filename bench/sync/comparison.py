"""Compares syncs of one shop by each of our read strategies with loads by peers, alternating on the same store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from bench.common.measure import BenchFailed, SyncMeasurement, SyncMedians, measure_sync
from bench.common.stack import running_stack
from bench.common.store import ServedShop, Store
from bench.peers.clients import warm_up_cache
from bench.peers.process import Peer, PeerRun, run_peer

FIRST_LOAD, NOTHING_CHANGED, FEW_CHANGED = STEPS = ("first load", "nothing changed", "1 % changed")
Round = dict[str, SyncMeasurement]
"""By step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadStrategy:
    """One way in which we read one kind of shop."""

    name: str
    """Its name in results."""
    kind: str
    """See `bench.common.store.KINDS`."""
    sync_strategy: str
    """The strategy that the sync reports."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of connector_svc that select it."""
    calls_by_product: bool = False
    """Whether each variable product takes a call."""

    def matches(self, calls: int, shop: ServedShop) -> bool:
        """Return whether a sync of the whole shop with this strategy takes about so many calls."""
        return (calls > shop.products / 4) if self.calls_by_product else (calls < shop.products / 10 + 20)


def _shopify(strategy: str) -> ReadStrategy:
    return ReadStrategy(
        name=f"shopify-{strategy}",
        kind="shopify",
        sync_strategy=strategy,
        settings={"CONNECTOR_SHOPIFY_STRATEGY": strategy},
    )


READ_STRATEGIES: Final = (
    _shopify("paging"),
    _shopify("bulk"),
    ReadStrategy(name="woocommerce-bulk", kind="woocommerce-10.3", sync_strategy="paging"),
    ReadStrategy(name="woocommerce-dashboard", kind="woocommerce-8.2", sync_strategy="paging"),
    ReadStrategy(
        name="woocommerce-plain", kind="woocommerce-plain", sync_strategy="paging", calls_by_product=True
    ),
)
"""WooCommerce with a bulk route for variations, with the route of its own dashboard only, and with neither."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is measured with a shop."""

    strategies: tuple[ReadStrategy, ...]
    peers: tuple[Peer, ...] = ()
    rounds: int = 3
    peer_rounds: int = 3
    resync: bool = True
    """Whether each first load is followed by a re-sync with nothing changed and one with 1 % changed."""
    warm_up: bool = True
    """Whether the store's cache is filled before; without that the store is measured, too."""
    latency_ms: int = 0
    """Delay of each of the store's answers after the warm-up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerMedians:
    """Medians over repetitions, each figure by itself."""

    repetitions: int
    items: int
    seconds: float
    rows_per_second: int
    cpu_per_100k: dict[str, float]
    """Seconds per 100,000 items: of the peer's processes, PostgreSQL and the store."""
    peak_mb: float
    """The highest peak RSS of the peer's process."""
    largest_child_mb: float
    """The highest peak RSS of its largest child process."""

    @classmethod
    def of(cls, runs: Sequence[PeerRun]) -> PeerMedians:
        """Return the medians of at least one run."""
        items = runs[0].items

        def cpu(seconds: Sequence[float]) -> float:
            return round(median(seconds) / items * 100_000, 2)

        return cls(
            repetitions=len(runs),
            items=items,
            seconds=round(median(one.report.seconds for one in runs), 2),
            rows_per_second=round(median(one.rows_per_second for one in runs)),
            cpu_per_100k={
                "peer": cpu([one.report.cpu_seconds for one in runs]),
                "postgresql": cpu([one.postgresql_cpu for one in runs]),
                "store": cpu([one.store_cpu for one in runs]),
            },
            peak_mb=round(max(one.report.peak_mb for one in runs), 1),
            largest_child_mb=round(max(one.report.largest_child_mb for one in runs), 1),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """All figures measured with one shop."""

    items: int
    ours: dict[str, dict[str, SyncMedians]]
    """By read strategy and step."""
    seconds: dict[str, float]
    """Of the first load, by read strategy."""
    peers: dict[str, PeerMedians]


async def compare(directory: Path, store: Store, plan: Plan) -> Comparison:
    """Fill the store's cache in a round that is not measured, then alternate between our strategies and the peers.

    Args:
        directory: For the files of all runs.
        store: Store with one shop.
        plan: What to measure.

    Raises:
        BenchFailed: A sync or a peer did not do what it was measured for.
    """
    if plan.warm_up:
        await _warm_up(directory, store, plan)
    await store.set_latency(plan.latency_ms)
    ours: dict[str, list[Round]] = {strategy.name: [] for strategy in plan.strategies}
    peers: dict[str, list[PeerRun]] = {peer.name: [] for peer in plan.peers}
    for number in range(plan.rounds):
        for strategy in plan.strategies:
            with_peers = strategy == plan.strategies[-1] and number < plan.peer_rounds
            async with _only_cached_answers(store, plan):
                steps, runs = await _run_round(
                    directory / f"{number}-{strategy.name}",
                    store,
                    strategy,
                    plan,
                    plan.peers if with_peers else (),
                    count_dead=number == 0,
                )
            ours[strategy.name].append(steps)
            for run in runs:
                peers[run.name].append(run)
    return Comparison(
        items=store.shop.items,
        ours={name: _medians(rounds) for name, rounds in ours.items()},
        seconds={name: median(one[FIRST_LOAD].seconds for one in rounds) for name, rounds in ours.items()},
        peers={name: PeerMedians.of(runs) for name, runs in peers.items()},
    )


async def _warm_up(directory: Path, store: Store, plan: Plan) -> None:
    for strategy in plan.strategies:
        await _run_round(directory / f"warm-up-{strategy.name}", store, strategy, plan, ())
    if plan.peers:
        await warm_up_cache(store)


async def _run_round(
    directory: Path,
    store: Store,
    strategy: ReadStrategy,
    plan: Plan,
    peers: Sequence[Peer],
    *,
    count_dead: bool = False,
) -> tuple[Round, list[PeerRun]]:
    """Run all steps in new services on an empty database, then the peers on the same PostgreSQL."""
    steps: Round = {}
    count_dead = count_dead and plan.resync
    async with running_stack(directory, store, connector_settings=strategy.settings) as stack:

        async def measure() -> SyncMeasurement:
            return await measure_sync(stack, store, strategy=strategy.sync_strategy, count_dead=count_dead)

        await store.set_generation(0)
        calls = (await store.answer_counts()).total
        steps[FIRST_LOAD] = await measure()
        _check_calls(strategy, (await store.answer_counts()).total - calls, store.shop)
        if plan.resync:
            steps[NOTHING_CHANGED] = await measure()
            await store.set_generation(1)
            steps[FEW_CHANGED] = await measure()
            await store.set_generation(0)
        _check_changes(steps, store.shop)
        runs = [await run_peer(peer, directory / peer.name, stack, store) for peer in peers]
    return steps, runs


@asynccontextmanager
async def _only_cached_answers(store: Store, plan: Plan) -> AsyncIterator[None]:
    """Raise BenchFailed if the store had to compute an answer after its warm-up: then it was measured, too."""
    before = (await store.answer_counts()).computed
    yield
    computed = (await store.answer_counts()).computed - before
    if computed and plan.warm_up:
        raise BenchFailed(f"the store computed {computed} answers that were not requested during the warm-up")


def _check_calls(strategy: ReadStrategy, calls: int, shop: ServedShop) -> None:
    if not strategy.matches(calls, shop):
        raise BenchFailed(f"{calls:,} calls for {shop.products:,} products do not match {strategy.name}")


def _check_changes(steps: Round, shop: ServedShop) -> None:
    """Raise BenchFailed unless each sync created and updated what its step requires."""
    expected = {FIRST_LOAD: (shop.items, 0), NOTHING_CHANGED: (0, 0), FEW_CHANGED: (0, shop.products // 100)}
    for step, measured in steps.items():
        if (measured.created, measured.updated) != expected[step]:
            raise BenchFailed(
                f"{step}: {measured.created:,} items were created and {measured.updated:,} updated, "
                f"not {expected[step][0]:,} and {expected[step][1]:,}"
            )


def _medians(rounds: Sequence[Round]) -> dict[str, SyncMedians]:
    return {step: SyncMedians.of([one[step] for one in rounds]) for step in rounds[0]}
