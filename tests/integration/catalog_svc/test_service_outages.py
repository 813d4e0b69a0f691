"""Two replicas of catalog_svc recover from every database outage by themselves, and report it correctly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from catalogsync.connector.v1.connector_service_pb2_grpc import add_ConnectorServiceServicer_to_server
from catalogsync_common.channel import open_channel
from catalogsync_common.drain import Drain
from catalogsync_common.interceptor import CallInterceptor
from catalogsync_common.settings import ListenAddress
from catalogsync_common.status import ReceivedFailure, read_failure
from catalogsync_common.supervisor import LoopFailed, RestartPolicy
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc import bootstrap
from catalog_svc.settings import CatalogSettings
from catalog_svc.storage.engine import open_engine
from connector_svc.domain.fetch import Batch, FetchEvent, FetchRequest, WaitReporter
from connector_svc.domain.product import Product, Variant
from connector_svc.rpc.requests import Platforms
from connector_svc.rpc.servicer import ConnectorServicer
from tests.conftest import as_owner
from tests.fakes.listed_platform import ListedPlatform
from tests.pgbouncer import is_pooled
from tests.waiting import until_found

pytestmark = pytest.mark.timeout(240)

PRODUCTS = [Product(id=str(n), title="", variants=(Variant(id=f"{n}-1"),)) for n in range(600)]
TIMEOUT_SECONDS = 60
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class BlockedPlatform(ListedPlatform):
    """A platform whose passes stop after each batch until `unblocked` is set."""

    def __init__(self) -> None:
        super().__init__(products=PRODUCTS)
        self.unblocked = asyncio.Event()

    async def fetch(self, request: FetchRequest, *, on_wait: WaitReporter) -> AsyncGenerator[FetchEvent, None]:
        async for event in super().fetch(request, on_wait=on_wait):
            yield event
            if isinstance(event, Batch):
                await self.unblocked.wait()


class Replica:
    """A client of one replica."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.catalog = CatalogServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)

    async def start(self, domain: str) -> str:
        request = pb.StartSyncRequest(shop=pb.ShopRef(platform="listed", domain=domain), mode=pb.Sync.MODE_FULL)
        return (await self.catalog.StartSync(request, timeout=10)).sync.sync_id

    async def sync(self, sync_id: str) -> pb.Sync:
        return (await self.catalog.GetSync(pb.GetSyncRequest(sync_id=sync_id), timeout=10)).sync

    async def health(self, name: str = "") -> int:
        status: int = (await self._health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)).status
        return status


@dataclass
class Watch:
    """Watches a sync on one replica to its end, and calls again when the call ends before it, as clients do."""

    replica: Replica
    sync_id: str
    messages: list[pb.WatchSyncResponse] = field(default_factory=list)
    failures: list[ReceivedFailure] = field(default_factory=list)

    async def __call__(self) -> pb.Sync:
        revision = 0
        while True:
            call = self.replica.catalog.WatchSync(
                pb.WatchSyncRequest(sync_id=self.sync_id, after_revision=revision)
            )
            try:
                async for message in call:
                    self.messages.append(message)
                    revision = message.sync.revision
                if not self.messages[-1].reconnect_reason:
                    return self.messages[-1].sync
            except grpc.aio.AioRpcError as error:
                failure = await read_failure(error, call)
                assert failure.code is grpc.StatusCode.UNAVAILABLE, failure
                self.failures.append(failure)


class DatabaseProxy:
    """A TCP proxy to the PostgreSQL behind a Unix socket that can refuse connections."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._writers: set[asyncio.StreamWriter] = set()
        self._accepts = True
        self.port = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            self.refuse()

    def refuse(self) -> None:
        """Reset all connections, and each new one."""
        self._accepts = False
        for writer in self._writers:
            writer.transport.abort()

    def accept(self) -> None:
        self._accepts = True

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if not self._accepts:
            to_client.transport.abort()
            return
        from_server, to_server = await asyncio.open_unix_connection(self._socket)
        ends = {to_client, to_server}
        self._writers |= ends
        try:
            pumps = [self._pump(from_client, to_server), self._pump(from_server, to_client)]
            await asyncio.gather(*pumps)
        finally:
            self._writers -= ends

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        sink.transport.abort()


class World:
    """Two replicas that reach one database through a proxy, and the database itself."""

    def __init__(self, database_url: str, direct_database_url: str) -> None:
        self._url = make_url(database_url)
        self._pooled = is_pooled(database_url)
        self._engine = open_engine(
            make_url(direct_database_url).set(username="postgres").render_as_string(hide_password=False),
            pool_size=2,
        )
        directory, port = self._url.query["host"], self._url.port or 5432
        self.proxy = DatabaseProxy(Path(str(directory)) / f".s.PGSQL.{port}")
        self.platform = BlockedPlatform()
        self.replicas: list[Replica] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._engine.dispose)
            await stack.enter_async_context(self.proxy.listening())
            connector = await stack.enter_async_context(self._connector())
            for _ in range(2):
                port = await stack.enter_async_context(bootstrap.running(self._settings(connector)))
                channel = await stack.enter_async_context(open_channel(f"127.0.0.1:{port}"))
                self.replicas.append(Replica(channel))
            yield self

    @asynccontextmanager
    async def _connector(self) -> AsyncIterator[str]:
        server = grpc.aio.server(interceptors=(CallInterceptor(),), options=(("grpc.so_reuseport", 0),))
        servicer = ConnectorServicer(Platforms([self.platform]), drain=Drain(), redact=str)
        add_ConnectorServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        yield f"127.0.0.1:{port}"
        await server.stop(None)

    def _settings(self, connector: str) -> CatalogSettings:
        url = self._url.set(host="127.0.0.1", port=self.proxy.port, query={})
        return CatalogSettings(
            database_url=SecretStr(url.render_as_string(hide_password=False)),
            database_pooled=self._pooled,
            listen_address=ListenAddress("127.0.0.1:0"),
            connector_address=connector,
            max_running_syncs=1,
            lease_ttl=timedelta(seconds=3),
            heartbeat_interval=timedelta(milliseconds=500),
            stop_grace=timedelta(seconds=2),
        )

    async def set_read_only(self, read_only: bool) -> None:
        """Demote or promote the primary: all sessions end, and new ones are read-only or not."""
        action = "SET default_transaction_read_only = on" if read_only else "RESET default_transaction_read_only"
        await self.execute(
            "SET default_transaction_read_only = off", f'ALTER DATABASE "{self._url.database}" {action}'
        )
        await self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    async def execute(self, *statements: str) -> None:
        async with self._engine.connect() as connection:
            autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
            for statement in statements:
                await autocommit.execute(text(statement))

    async def started(self, *domains: str) -> list[str]:
        """Start syncs, each on a replica of its own, and return their ids once each has stored a batch."""
        ids = [await replica.start(domain) for replica, domain in zip(self.replicas, domains, strict=True)]

        async def stored() -> bool:
            syncs = [await self.replicas[0].sync(sync_id) for sync_id in ids]
            return all(sync.progress.products.seen_count for sync in syncs)

        await eventually(stored)
        return ids

    async def all_healthy(self, status: int) -> None:
        async def healthy() -> bool:
            return [await replica.health() for replica in self.replicas] == [status, status]

        await eventually(healthy)


async def eventually(condition: Callable[[], object]) -> None:
    """Poll until the condition, a coroutine function or a function, holds."""

    async def holds() -> bool | None:
        result = condition()
        return True if (await result if asyncio.iscoroutine(result) else result) else None

    await until_found(holds)


@pytest.fixture
async def world(database_url: str, direct_database_url: str) -> AsyncIterator[World]:
    async with World(database_url, direct_database_url).running() as world:
        yield world


async def test_syncs_continue_after_the_database_was_read_only_for_a_while(world: World) -> None:
    running = await world.started("a.example", "b.example")
    pending = await world.replicas[0].start("c.example")
    unknown = await world.replicas[0].start("d.example")
    # A newer release has stored an enum value that this one does not know.
    await world.execute(f"UPDATE sync SET trigger = 'WEBHOOK' WHERE sync_id = '{unknown}'")
    watches = [Watch(replica, sync_id) for replica in world.replicas for sync_id in (*running, pending)]
    watching = [asyncio.create_task(watch()) for watch in watches]
    await eventually(lambda: all(watch.messages for watch in watches))

    await world.set_read_only(True)
    world.platform.unblocked.set()
    # Heartbeats go on, since the database can be read; no sync has ended, since it cannot be written.
    read = [len(watch.messages) for watch in watches]
    await eventually(lambda: all(len(w.messages) > before + 4 for w, before in zip(watches, read, strict=True)))
    assert not any(watch.messages[-1].sync.HasField("end_time") for watch in watches)

    await world.set_read_only(False)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        ends = await asyncio.gather(*watching)
    assert {end.state for end in ends} == {pb.Sync.STATE_SUCCEEDED}
    assert {end.progress.products.seen_count for end in ends} == {len(PRODUCTS)}
    await world.all_healthy(SERVING)


async def test_watchers_and_health_report_an_unreachable_database_and_its_return(
    world: World,
) -> None:
    ids = await world.started("a.example", "b.example")
    watches = [Watch(replica, sync_id) for replica in world.replicas for sync_id in ids]
    watching = [asyncio.create_task(watch()) for watch in watches]
    await eventually(lambda: all(any(message.heartbeat for message in watch.messages) for watch in watches))
    await world.all_healthy(SERVING)

    world.proxy.refuse()
    world.platform.unblocked.set()
    await world.all_healthy(NOT_SERVING)
    assert [await replica.health("liveness") for replica in world.replicas] == [SERVING, SERVING]
    await eventually(lambda: all(watch.failures for watch in watches))
    assert {failure.reason for watch in watches for failure in watch.failures} == {"STORAGE_UNAVAILABLE"}
    assert all(failure.retry_after for watch in watches for failure in watch.failures)

    world.proxy.accept()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        ends = await asyncio.gather(*watching)
    assert {end.state for end in ends} == {pb.Sync.STATE_SUCCEEDED}
    await world.all_healthy(SERVING)


def without_connector(database_url: str) -> CatalogSettings:
    """Return the settings of one replica whose connector does not exist."""
    return CatalogSettings(
        database_url=SecretStr(database_url),
        database_pooled=is_pooled(database_url),
        listen_address=ListenAddress("127.0.0.1:0"),
        connector_address="127.0.0.1:1",
    )


async def test_a_loop_that_cannot_go_on_makes_health_not_serving_and_ends_the_service(
    engine: AsyncEngine, database_url: str
) -> None:
    # No claim can read this table any more, and no retry will help.
    async with as_owner(engine).begin() as connection:
        await connection.execute(text("ALTER TABLE sync_queue RENAME COLUMN owner TO hidden"))
    given_up, health = asyncio.Event(), []

    async def serve_until_given_up() -> None:
        policy = RestartPolicy(give_up_after=timedelta(seconds=1), give_up_failures=3)
        async with (
            bootstrap.running(
                without_connector(database_url), on_give_up=given_up.set, restart_policy=policy
            ) as port,
            open_channel(f"127.0.0.1:{port}") as channel,
        ):
            await given_up.wait()
            health.append(await Replica(channel).health())

    async with asyncio.timeout(TIMEOUT_SECONDS):
        with pytest.raises(LoopFailed, match="'worker'"):
            await serve_until_given_up()
    assert health == [NOT_SERVING]


async def test_serve_returns_when_a_loop_cannot_go_on(engine: AsyncEngine, database_url: str) -> None:
    async with as_owner(engine).begin() as connection:
        await connection.execute(text("ALTER TABLE sync_queue RENAME COLUMN owner TO hidden"))
    policy = RestartPolicy(give_up_after=timedelta(), give_up_failures=2)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        with pytest.raises(LoopFailed):
            await bootstrap.serve(without_connector(database_url), asyncio.Event(), restart_policy=policy)
