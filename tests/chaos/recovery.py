"""`python -m tests.chaos.recovery`: breaks one thing at a time and tells how soon a sync goes on."""

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
from tests.chaos.system import ChaosSystem, Size, free_port, running_system
from tests.chaos.workload import Clients, Notes
from tests.conftest import open_directory

SHOPIFY, WOOCOMMERCE = "one.myshopify.com", "new.example"
Figures: TypeAlias = dict[str, Any]
_SYNC_WITHIN = 1_200.0


class TokenService:
    """Gives the devstore's tokens while it is up, and 503 while it is down."""

    def __init__(self) -> None:
        self.up = False
        self.refused = 0
        self.port = free_port()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[TokenService]:
        """Serves while the block lasts."""
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
            self.refused += 1
            return web.Response(status=503)
        return web.json_response({"data": {"access_token": f"shpat_devstore_{request.match_info['domain']}"}})


class Scene:
    """One system, and the sync that is broken."""

    def __init__(self, system: ChaosSystem, connection: asyncpg.Connection) -> None:
        self.system = system
        self.notes = Notes()
        self._clients = Clients(system.stubs, self.notes, Random(1))
        self._connection = connection

    async def reconnect(self) -> None:
        """After a crash of PostgreSQL, ours is gone too."""
        self._connection = await self.system.postgres.connect()

    async def close(self) -> None:
        """Ends our connection."""
        await self._connection.close()

    async def sync(self, domain: str, trouble: Callable[[str], Awaitable[None]] | None = None) -> pb.Sync:
        """A full sync, in trouble once its first batch is stored, as its watcher sees it end."""
        shop = pb.Shop(platform=self.system.store.shops[domain].spec.platform.value, domain=domain)
        started = await self._clients.start(shop, pb.Sync.MODE_FULL, allow_mass_delete=True)
        async with asyncio.timeout(_SYNC_WITHIN):
            watching = asyncio.create_task(self._clients.watch(started.sync_id))
            if trouble is not None:
                await self.batches_after(started.sync_id, 0)
                await trouble(started.sync_id)
            return await watching

    async def cancel(self, sync_id: str) -> None:
        """Ends it."""
        await self._clients.cancel(sync_id)

    async def history(self, sync_id: str) -> list[Entry]:
        """Everything that happened to its row so far."""
        histories = await journal.read(self._connection)
        return next((entries for key, entries in histories.items() if str(key) == sync_id), [])

    async def batches_after(self, sync_id: str, count: int) -> int:
        """How many it has stored, as soon as these are more than `count`, or as many as there will be."""
        while True:
            entries = await self.history(sync_id)
            if entries and (entries[-1].next_seq > count or entries[-1].ended):
                return entries[-1].next_seq
            await asyncio.sleep(0.02)

    async def owner(self, sync_id: str) -> Instance | None:
        """Who works on it; None when it has ended."""
        entries = await self.history(sync_id)
        if entries[-1].ended:
            return None
        claim = next(entry for entry in entries if entry.epoch == entries[-1].epoch)
        identity = self.system.writers.of(claim)
        return next(one for one in self.system.catalogs if one.identity == identity)

    def pages(self, domain: str) -> int:
        """How many pages of products the store was asked for since the last call."""
        traffic = self.system.store.requests(domain)
        pages = sum(
            note.operation in {"ProductPage", "ProductsById"}
            or (note.operation == "products" and note.query.get("per_page") == "100")
            for note in traffic.recent
        )
        traffic.reset()
        return pages

    async def claimed_after(self, losses: Sequence[tuple[str, float]]) -> list[float]:
        """Seconds from each loss of a replica to the next claim of what it held."""
        histories = await journal.read(self._connection)
        return [one.seconds for one in timings.takeovers(histories, self.system.writers, losses)]

    async def snapshot_ages(self) -> list[float]:
        """Seconds from each transaction to the watcher that heard of it."""
        return timings.of_snapshots(await journal.read(self._connection), self.notes.snapshots)

    async def stored_after(self, moments: Sequence[float]) -> list[float]:
        """Seconds from each moment to the next stored batch."""
        return timings.until_written(await journal.read(self._connection), moments)


@asynccontextmanager
async def scene(size: Size) -> AsyncIterator[Scene]:
    """A system of its own."""
    with open_directory("recovery") as place:
        async with running_system(place, size, Random(1)) as system:
            scene = Scene(system, await system.postgres.connect())
            try:
                yield scene
            finally:
                await scene.close()


async def deaths(scene: Scene, number: signal.Signals, times: int) -> Figures:
    """The owner dies after one stored batch after the other: how soon another one goes on, what is read again."""
    figures: Figures = {}
    for domain in (SHOPIFY, WOOCOMMERCE):
        scene.pages(domain)
        await _succeeded(scene.sync(domain))
        needed = scene.pages(domain)
        losses: list[tuple[str, float]] = []

        async def die(sync_id: str, losses: list[tuple[str, float]] = losses) -> None:
            stored = 0
            while len(losses) < times:
                stored = await scene.batches_after(sync_id, stored)
                victim = await scene.owner(sync_id)
                if victim is None:
                    return
                losses.append((victim.identity, victim.signal(number)))
                await victim.ended()
                await victim.start()
                await victim.ready()

        await _succeeded(scene.sync(domain, die))
        again = scene.pages(domain) - needed
        figures[domain] = {
            "deaths": len(losses),
            "until_claimed": timings.summary(await scene.claimed_after(losses)),
            "pages": needed,
            "pages_read_again": again,
            "read_again_per_death": round(again / len(losses), 2),
        }
    return figures


async def cancels(scene: Scene, times: int) -> Figures:
    """How soon CancelSync answers, and how soon the shop is left in peace."""
    answered, quiet = [], []
    requests = scene.system.store.requests(SHOPIFY)

    async def cancel(sync_id: str) -> None:
        began = time.monotonic()
        await scene.cancel(sync_id)
        answered.append(time.monotonic() - began)
        calls, last = requests.calls, began
        while time.monotonic() < began + 6:
            if requests.calls != calls:
                calls, last = requests.calls, time.monotonic()
            await asyncio.sleep(0.01)
        quiet.append(last - began)

    for _ in range(times):
        end = await scene.sync(SHOPIFY, cancel)
        if end.state != pb.Sync.STATE_CANCELLED:
            raise RuntimeError(f"not cancelled: {end}")
    return {"until_answered": timings.summary(answered), "until_last_request": timings.summary(quiet)}


async def database_restarts(scene: Scene, times: int, away: float) -> Figures:
    """PostgreSQL crashes in the middle of a sync and comes back."""
    returns: list[float] = []

    async def crash(sync_id: str) -> None:
        stored = 0
        for _ in range(times):
            stored = await scene.batches_after(sync_id, stored)
            await scene.system.postgres.crash()
            await asyncio.sleep(away)
            await scene.system.postgres.start()
            returns.append(time.time())
            await scene.reconnect()

    sync = await _succeeded(scene.sync(SHOPIFY, crash))
    return {
        "times": len(returns),
        "away_seconds": away,
        "until_stored": timings.summary(await scene.stored_after(returns)),
        "attempts": sync.attempt_count,
    }


async def connector_away(scene: Scene, away: float) -> Figures:
    """All connectors are gone for a while."""
    returns: list[float] = []

    async def leave(sync_id: str) -> None:
        for one in scene.system.connectors:
            await one.stop()
        await asyncio.sleep(away)
        for one in scene.system.connectors:
            await one.start()
            await one.ready()
        returns.append(time.time())

    sync = await _succeeded(scene.sync(WOOCOMMERCE, leave))
    return {
        "away_seconds": away,
        "until_stored": timings.summary(await scene.stored_after(returns)),
        "attempts": sync.attempt_count,
    }


async def token_service_down(scene: Scene, service: TokenService, away: float) -> Figures:
    """Nobody gives tokens when a sync begins."""
    service.up = False

    async def come_back() -> None:
        await asyncio.sleep(away)
        service.up = True

    coming = asyncio.create_task(come_back())
    sync = await _succeeded(scene.sync(SHOPIFY))
    await coming
    return {"away_seconds": away, "refused_tokens": service.refused, "attempts": sync.attempt_count}


async def _succeeded(syncing: Awaitable[pb.Sync]) -> pb.Sync:
    sync = await syncing
    if sync.state != pb.Sync.STATE_SUCCEEDED:
        raise RuntimeError(f"a sync of {sync.shop.domain} did not succeed: {sync}")
    return sync


async def measured(asked: argparse.Namespace) -> AsyncGenerator[tuple[str, Figures], None]:
    """One scene after the other."""
    small = Size(products=asked.products, latency=0.5, catalogs=2, connectors=1)
    async with scene(small) as on:
        yield "kill", await deaths(on, signal.SIGKILL, asked.times)
        yield "handover", await deaths(on, signal.SIGTERM, asked.times)
        yield "database_restart", await database_restarts(on, asked.times, away=3)
        yield "connector_away", await connector_away(on, asked.away)
        yield "snapshot_age", timings.summary(await on.snapshot_ages())
    # With the default lease, so that what is measured is not its end.
    async with scene(replace(small, lease_ttl=30)) as on:
        yield "cancel", await cancels(on, asked.times)
    service = TokenService()
    small = replace(small, token_service=f"http://{HOST}:{service.port}")
    async with service.listening(), scene(small) as on:
        yield "token_service_down", await token_service_down(on, service, asked.token_service_away)


async def _tell(asked: argparse.Namespace) -> None:
    figures: Figures = {}
    async with aclosing(measured(asked)) as measuring:
        async for name, figure in measuring:
            print(f"{name}: {json.dumps(figure)}", flush=True)
            figures[name] = figure
    print(f"RESULT {json.dumps(figures)}")


def main() -> int:
    """0 when every sync succeeded; a RuntimeError tells of one that did not."""
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.recovery", description=__doc__)
    parser.add_argument("--products", type=int, default=5_000)
    parser.add_argument("--times", type=int, default=10, help="how often a sync is broken in the same way")
    parser.add_argument("--away", type=float, default=60, help="seconds without a connector")
    parser.add_argument("--token-service-away", type=float, default=600, help="seconds without a token service")
    asyncio.run(_tell(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
