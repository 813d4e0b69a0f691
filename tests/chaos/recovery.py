"""`python -m tests.chaos.recovery`: measures how soon a sync continues after one kind of failure at a time."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from random import Random
from typing import Any, TypeAlias

import asyncpg
from aiohttp import web
from catalogsync.catalog.v1 import catalog_service_pb2 as pb

from tests.chaos import journal, timings
from tests.chaos.fault_proxy import HOST
from tests.chaos.instance import Instance
from tests.chaos.journal import Entry
from tests.chaos.system import ChaosSystem, SystemConfig, free_port, running_system
from tests.chaos.workload import Clients, Observations
from tests.conftest import open_directory

SHOPIFY, WOOCOMMERCE = "one.myshopify.com", "new.example"
Measurements: TypeAlias = dict[str, Any]
_SYNC_TIMEOUT_SECONDS = 1_200.0
_QUIET_WINDOW_SECONDS = 6


class TokenService:
    """Returns the devstore's tokens while it is up, and 503 while it is down."""

    def __init__(self) -> None:
        self.up = False
        self.refused_count = 0
        self.port = free_port()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[TokenService]:
        """Serve while the block runs."""
        app = web.Application()
        app.router.add_get("/api/v1/tokens/shopify/{domain}", self._token)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, self.port).start()
            yield self
        finally:
            await runner.cleanup()

    async def _token(self, request: web.Request) -> web.Response:
        if not self.up:
            self.refused_count += 1
            return web.Response(status=503)
        return web.json_response({"data": {"access_token": f"shpat_devstore_{request.match_info['domain']}"}})


class Experiment:
    """A running system, in which one sync at a time is disturbed."""

    def __init__(self, system: ChaosSystem, connection: asyncpg.Connection) -> None:
        self.system = system
        self.observations = Observations()
        self._clients = Clients(system.stubs, self.observations, Random(1))
        self._connection = connection

    async def reconnect(self) -> None:
        """Open a new connection: a crash of PostgreSQL ends this one, too."""
        self._connection = await self.system.postgres.connect()

    async def close(self) -> None:
        """Close the connection to the database."""
        await self._connection.close()

    async def sync(self, domain: str, disturb: Callable[[str], Awaitable[None]] | None = None) -> pb.Sync:
        """Run a full sync and return it in its final state, as a watcher sees it.

        Args:
            domain: Of the shop.
            disturb: Called with the sync id once the first batch is stored.
        """
        shop = pb.ShopRef(platform=self.system.store.shops[domain].spec.platform.value, domain=domain)
        started = await self._clients.start(shop, pb.Sync.MODE_FULL, allow_mass_delete=True)
        async with asyncio.timeout(_SYNC_TIMEOUT_SECONDS):
            watching = asyncio.create_task(self._clients.watch(started.sync_id))
            if disturb is not None:
                await self.batches_after(started.sync_id, 0)
                await disturb(started.sync_id)
            return await watching

    async def cancel(self, sync_id: str) -> None:
        """Cancel the sync."""
        await self._clients.cancel(sync_id)

    async def history(self, sync_id: str) -> list[Entry]:
        """Return the journal of the sync so far."""
        histories = await journal.read(self._connection)
        return next((entries for key, entries in histories.items() if str(key) == sync_id), [])

    async def batches_after(self, sync_id: str, count: int) -> int:
        """Return the number of stored batches as soon as it exceeds `count` or the sync has ended."""
        while True:
            entries = await self.history(sync_id)
            if entries and (entries[-1].next_seq > count or entries[-1].ended):
                return entries[-1].next_seq
            await asyncio.sleep(0.02)

    async def owner(self, sync_id: str) -> Instance | None:
        """Return the replica that runs the sync; None when it has ended."""
        entries = await self.history(sync_id)
        if entries[-1].ended:
            return None
        claim = next(entry for entry in entries if entry.epoch == entries[-1].epoch)
        identity = self.system.connections.writer(claim)
        return next(replica for replica in self.system.catalogs if replica.identity == identity)

    def pages(self, domain: str) -> int:
        """Return the number of requests for pages of products since the last call."""
        traffic = self.system.store.requests(domain)
        pages = sum(
            request.operation in {"ProductPage", "ProductsById"}
            or (request.operation == "products" and request.query.get("per_page") == "100")
            for request in traffic.recent
        )
        traffic.reset()
        return pages

    async def seconds_until_claimed(self, losses: Sequence[tuple[str, float]]) -> list[float]:
        """Return the seconds from each loss of a replica to the next claim of its sync."""
        histories = await journal.read(self._connection)
        return [takeover.seconds for takeover in timings.takeovers(histories, self.system.connections, losses)]

    async def snapshot_ages(self) -> list[float]:
        """Return the seconds from each transaction to the arrival of its snapshot at the watcher."""
        return timings.snapshot_ages(await journal.read(self._connection), self.observations.snapshots)

    async def seconds_until_stored(self, moments: Sequence[float]) -> list[float]:
        """Return the seconds from each moment (a Unix time) to the next stored batch."""
        return timings.seconds_until_stored(await journal.read(self._connection), moments)


@asynccontextmanager
async def running_experiment(config: SystemConfig) -> AsyncIterator[Experiment]:
    """Yield an experiment with its own system."""
    with open_directory("recovery") as directory:
        async with running_system(directory, config, Random(1)) as system:
            experiment = Experiment(system, await system.postgres.connect())
            try:
                yield experiment
            finally:
                await experiment.close()


async def measure_takeovers(experiment: Experiment, number: signal.Signals, times: int) -> Measurements:
    """Signal the owner after each stored batch: how soon another replica claims the sync, what is read twice."""
    measurements: Measurements = {}
    for domain in (SHOPIFY, WOOCOMMERCE):
        experiment.pages(domain)
        await _succeeded(experiment.sync(domain))
        needed = experiment.pages(domain)
        losses: list[tuple[str, float]] = []

        async def signal_owners(sync_id: str, losses: list[tuple[str, float]] = losses) -> None:
            stored = 0
            while len(losses) < times:
                stored = await experiment.batches_after(sync_id, stored)
                owner = await experiment.owner(sync_id)
                if owner is None:
                    return
                losses.append((owner.identity, owner.signal(number)))
                await owner.wait_for_exit()
                await owner.start()
                await owner.wait_until_ready()

        await _succeeded(experiment.sync(domain, signal_owners))
        again = experiment.pages(domain) - needed
        measurements[domain] = {
            "exits": len(losses),
            "until_claimed": timings.summary(await experiment.seconds_until_claimed(losses)),
            "pages": needed,
            "pages_read_again": again,
            "read_again_per_exit": round(again / len(losses), 2),
        }
    return measurements


async def measure_cancels(experiment: Experiment, times: int) -> Measurements:
    """Cancel syncs: how soon CancelSync answers, and when the shop receives the last request."""
    answer_seconds, last_request_seconds = [], []
    requests = experiment.system.store.requests(SHOPIFY)

    async def cancel(sync_id: str) -> None:
        start = time.monotonic()
        await experiment.cancel(sync_id)
        answer_seconds.append(time.monotonic() - start)
        calls, last = requests.calls, start
        while time.monotonic() < start + _QUIET_WINDOW_SECONDS:
            if requests.calls != calls:
                calls, last = requests.calls, time.monotonic()
            await asyncio.sleep(0.01)
        last_request_seconds.append(last - start)

    for _ in range(times):
        end = await experiment.sync(SHOPIFY, cancel)
        if end.state != pb.Sync.STATE_CANCELLED:
            raise RuntimeError(f"not cancelled: {end}")
    return {
        "until_answered": timings.summary(answer_seconds),
        "until_last_request": timings.summary(last_request_seconds),
    }


async def measure_database_restarts(experiment: Experiment, times: int, outage_seconds: float) -> Measurements:
    """Crash PostgreSQL during a sync and restart it."""
    recoveries: list[float] = []

    async def crash(sync_id: str) -> None:
        stored = 0
        for _ in range(times):
            stored = await experiment.batches_after(sync_id, stored)
            await experiment.system.postgres.crash()
            await asyncio.sleep(outage_seconds)
            await experiment.system.postgres.start()
            recoveries.append(time.time())
            await experiment.reconnect()

    sync = await _succeeded(experiment.sync(SHOPIFY, crash))
    return {
        "times": len(recoveries),
        "outage_seconds": outage_seconds,
        "until_stored": timings.summary(await experiment.seconds_until_stored(recoveries)),
        "attempts": sync.attempt_count,
    }


async def measure_connector_outage(experiment: Experiment, outage_seconds: float) -> Measurements:
    """Stop all connectors during a sync and restart them."""
    recoveries: list[float] = []

    async def stop_connectors(sync_id: str) -> None:
        for connector in experiment.system.connectors:
            await connector.stop()
        await asyncio.sleep(outage_seconds)
        for connector in experiment.system.connectors:
            await connector.start()
            await connector.wait_until_ready()
        recoveries.append(time.time())

    sync = await _succeeded(experiment.sync(WOOCOMMERCE, stop_connectors))
    return {
        "outage_seconds": outage_seconds,
        "until_stored": timings.summary(await experiment.seconds_until_stored(recoveries)),
        "attempts": sync.attempt_count,
    }


async def measure_token_service_outage(
    experiment: Experiment, service: TokenService, outage_seconds: float
) -> Measurements:
    """Start a sync while the token service is down."""
    service.up = False

    async def recover() -> None:
        await asyncio.sleep(outage_seconds)
        service.up = True

    recovering = asyncio.create_task(recover())
    sync = await _succeeded(experiment.sync(SHOPIFY))
    await recovering
    return {
        "outage_seconds": outage_seconds,
        "refused_tokens": service.refused_count,
        "attempts": sync.attempt_count,
    }


async def _succeeded(syncing: Awaitable[pb.Sync]) -> pb.Sync:
    sync = await syncing
    if sync.state != pb.Sync.STATE_SUCCEEDED:
        raise RuntimeError(f"a sync of {sync.shop.domain} did not succeed: {sync}")
    return sync


async def measure_all(options: argparse.Namespace) -> AsyncGenerator[tuple[str, Measurements], None]:
    """Yield the name and the measurements of one failure after another."""
    config = SystemConfig(
        products_per_shop=options.products, store_latency_seconds=0.5, catalog_count=2, connector_count=1
    )
    async with running_experiment(config) as experiment:
        yield "kill", await measure_takeovers(experiment, signal.SIGKILL, options.times)
        yield "handover", await measure_takeovers(experiment, signal.SIGTERM, options.times)
        yield "database_restart", await measure_database_restarts(experiment, options.times, outage_seconds=3)
        yield "connector_outage", await measure_connector_outage(experiment, options.away)
        yield "snapshot_age", timings.summary(await experiment.snapshot_ages())
    # With the default lease TTL, so that the measurement is not the expiry of a short lease.
    async with running_experiment(replace(config, lease_ttl_seconds=30)) as experiment:
        yield "cancel", await measure_cancels(experiment, options.times)
    service = TokenService()
    config = replace(config, token_service_url=f"http://{HOST}:{service.port}")
    async with service.listening(), running_experiment(config) as experiment:
        outage = await measure_token_service_outage(experiment, service, options.token_service_away)
        yield "token_service_outage", outage


async def _print_measurements(options: argparse.Namespace) -> None:
    results: Measurements = {}
    async with aclosing(measure_all(options)) as measuring:
        async for name, measurements in measuring:
            print(f"{name}: {json.dumps(measurements)}", flush=True)
            results[name] = measurements
    print(f"RESULT {json.dumps(results)}")


def main() -> int:
    """Return 0.

    Raises:
        RuntimeError: A sync did not succeed.
    """
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.recovery", description=__doc__)
    parser.add_argument("--products", type=int, default=5_000, help="products of each shop")
    parser.add_argument("--times", type=int, default=10, help="how often a sync is disturbed in the same way")
    parser.add_argument("--away", type=float, default=60, help="seconds without a connector")
    parser.add_argument("--token-service-away", type=float, default=600, help="seconds without a token service")
    asyncio.run(_print_measurements(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
