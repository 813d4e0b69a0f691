"""ConnectorService over a real socket, with a platform whose shop is a list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.connector.v1.connector_service_pb2_grpc import (
    ConnectorServiceStub,
    add_ConnectorServiceServicer_to_server,
)
from catalogsync_common.channel import open_channel
from catalogsync_common.drain import Drain
from catalogsync_common.logs import redact
from catalogsync_common.server import Service, build_server
from catalogsync_common.settings import ListenAddress
from catalogsync_common.status import ReceivedFailure, read_failure
from google.protobuf.timestamp_pb2 import Timestamp

from connector_svc.domain.errors import SourceRateLimited, SourceUnauthorized
from connector_svc.domain.fetch import Batch, FetchEvent, FetchRequest, Wait, WaitReason, WaitReporter
from connector_svc.domain.product import Product, Variant
from connector_svc.domain.shop import Shop, ShopInfo
from connector_svc.rpc.fetch_stream import StreamTiming
from connector_svc.rpc.requests import Platforms
from connector_svc.rpc.servicer import ConnectorServicer
from tests.fakes.listed_platform import ListedPlatform
from tests.waiting import TIMEOUT_SECONDS, until

SHOP = Shop("listed", "a.example")
REF = pb.ShopRef(platform="listed", domain="a.example")
REQUEST = pb.FetchProductsRequest(shop=REF, max_batch_products=4)
PRODUCTS = [Product(id=str(number), title="", variants=(Variant(id=f"{number}-1"),)) for number in range(8)]


@dataclass(frozen=True, slots=True)
class Running:
    """A running connector and its client."""

    stub: ConnectorServiceStub
    drain: Drain

    async def kinds(self) -> list[str]:
        """Return the kinds of all events of a stream."""
        call = self.stub.FetchProducts(REQUEST)
        return [str(message.WhichOneof("event")) async for message in call]

    async def failing(
        self, request: pb.FetchProductsRequest, *, on_event: Callable[[str], None] = lambda _: None
    ) -> tuple[list[str], ReceivedFailure]:
        """Return the events of a stream that fails, and its failure. `on_event` is called with each event."""
        kinds: list[str] = []
        call = self.stub.FetchProducts(request)
        try:
            async for message in call:
                kinds.append(str(message.WhichOneof("event")))
                on_event(kinds[-1])
        except grpc.aio.AioRpcError as error:
            return kinds, await read_failure(error, call)
        raise AssertionError("the stream did not fail")


@asynccontextmanager
async def running(platform: ListedPlatform, timing: StreamTiming | None = None) -> AsyncIterator[Running]:
    drain = Drain()
    servicer = ConnectorServicer(Platforms([platform]), drain=drain, redact=redact, timing=timing)
    server = build_server(
        (
            Service(
                name="catalogsync.connector.v1.ConnectorService",
                register=lambda grpc_server: add_ConnectorServiceServicer_to_server(servicer, grpc_server),
            ),
        ),
        listen_address=ListenAddress("127.0.0.1:0"),
        drain=drain,
    )
    port = await server.start()
    channel = open_channel(f"127.0.0.1:{port}")
    try:
        yield Running(ConnectorServiceStub(channel), drain)
    finally:
        await channel.close()
        await server.stop(timedelta(seconds=2))


def pausing(at: int, act: Callable[[WaitReporter], Awaitable[None]]) -> Callable[[WaitReporter], Awaitable[None]]:
    """Return a hook that calls `act` before event number `at`, from 0."""
    count = -1

    async def before_each(on_wait: WaitReporter) -> None:
        nonlocal count
        count += 1
        if count == at:
            await act(on_wait)

    return before_each


async def forever(_: WaitReporter) -> None:
    await asyncio.Event().wait()


async def test_a_stream_is_a_header_batches_and_an_end() -> None:
    platform = ListedPlatform(products=PRODUCTS)
    async with running(platform) as connector:
        assert await connector.kinds() == ["header", "batch", "batch", "end"]
    assert platform.closed == 1


async def test_waits_are_reported_at_once_and_silence_is_broken_by_heartbeats() -> None:
    wait = Wait(
        reason=WaitReason.PLATFORM_JOB,
        until=datetime(2026, 11, 20, tzinfo=UTC),
        message="bulk job RUNNING",
        done_count=812,
        total_count=1456,
    )

    messages: list[pb.FetchProductsResponse] = []

    def kinds() -> list[str]:
        return [str(message.WhichOneof("event")) for message in messages]

    async def act(on_wait: WaitReporter) -> None:
        on_wait(wait)
        await until(lambda: "waiting" in kinds() and kinds()[kinds().index("waiting") :].count("heartbeat") >= 2)

    platform = ListedPlatform(products=PRODUCTS, before_each=pausing(1, act))
    timing = StreamTiming(heartbeat=timedelta(milliseconds=50))
    async with running(platform, timing) as connector:
        async for message in connector.stub.FetchProducts(pb.FetchProductsRequest(shop=REF)):
            messages.append(message)
    assert [kind for kind in kinds() if kind != "heartbeat"] == ["header", "waiting", "batch", "end"]
    waiting = messages[kinds().index("waiting")].waiting
    assert (waiting.done_count, waiting.total_count, waiting.message) == (812, 1456, "bulk job RUNNING")
    assert waiting.resume_time.ToDatetime(UTC) == wait.until


async def test_a_wait_that_is_over_is_not_reported() -> None:
    async def act(on_wait: WaitReporter) -> None:
        on_wait(Wait(reason=WaitReason.THROTTLED, until=datetime.now(UTC)))

    async with running(ListedPlatform(products=PRODUCTS, before_each=pausing(1, act))) as connector:
        assert "waiting" not in await connector.kinds()


async def test_a_client_that_disconnects_ends_the_reader() -> None:
    platform = ListedPlatform(products=PRODUCTS, before_each=pausing(1, forever))
    async with running(platform) as connector:
        call = connector.stub.FetchProducts(pb.FetchProductsRequest(shop=REF))
        await call.read()
        assert platform.closed == 0
        call.cancel()
        await until(lambda: platform.closed == 1)


async def test_a_drain_ends_the_stream_at_once_so_that_another_replica_continues() -> None:
    platform = ListedPlatform(products=PRODUCTS, before_each=pausing(2, forever))
    async with running(platform) as connector:
        kinds, failure = await connector.failing(
            REQUEST, on_event=lambda kind: connector.drain.start() if kind == "batch" else None
        )
    assert kinds == ["header", "batch"]
    assert (failure.reason, failure.code) == ("SERVER_DRAINING", grpc.StatusCode.UNAVAILABLE)
    assert failure.is_transient
    assert platform.closed == 1


async def test_a_failure_follows_everything_that_was_read_before_it() -> None:
    async def act(_: WaitReporter) -> None:
        raise SourceRateLimited(SHOP, retry_after=timedelta(seconds=90))

    async with running(ListedPlatform(products=PRODUCTS, before_each=pausing(2, act))) as connector:
        kinds, failure = await connector.failing(REQUEST)
    assert kinds == ["header", "batch"]
    assert (failure.reason, failure.retry_after) == ("SOURCE_RATE_LIMITED", timedelta(seconds=90))
    assert failure.metadata["domain"] == "a.example"


async def test_an_old_stream_expires_but_never_without_progress() -> None:
    platform = ListedPlatform(products=PRODUCTS)
    async with running(platform, StreamTiming(max_age=timedelta())) as connector:
        kinds, failure = await connector.failing(REQUEST)
    assert kinds == ["header", "batch"]
    assert failure.reason == "STREAM_EXPIRED"
    assert failure.is_transient


class Breaking(ListedPlatform):
    """A reader that breaks its contract after the header."""

    how: str = "stops"

    async def fetch(self, request: FetchRequest, *, on_wait: WaitReporter) -> AsyncGenerator[FetchEvent, None]:
        async for event in super().fetch(request, on_wait=on_wait):
            yield event
            if self.how == "header twice":
                yield event
            if self.how == "cancelled inside":
                raise asyncio.CancelledError
            if self.how == "unexpected":
                raise RuntimeError("password=hunter2")
            return


@pytest.mark.parametrize("how", ["stops", "header twice", "cancelled inside", "unexpected"])
async def test_a_reader_that_breaks_its_contract_is_an_internal_error(how: str) -> None:
    platform = Breaking(products=PRODUCTS)
    platform.how = how
    async with running(platform) as connector, asyncio.timeout(TIMEOUT_SECONDS):
        _, failure = await connector.failing(REQUEST)
    assert (failure.reason, failure.code) == ("INTERNAL", grpc.StatusCode.INTERNAL)
    assert "hunter2" not in failure.message


async def test_wrong_requests_name_their_fields_and_reach_no_platform() -> None:
    platform = ListedPlatform(products=PRODUCTS)
    async with running(platform) as connector:
        _, wrong = await connector.failing(pb.FetchProductsRequest(shop=REF, max_batch_products=-1))
        _, garbled = await connector.failing(pb.FetchProductsRequest(shop=REF, checkpoint=b"garbled"))
        _, unknown = await connector.failing(
            pb.FetchProductsRequest(shop=pb.ShopRef(platform="magento", domain="a.example"))
        )
    assert (wrong.reason, wrong.code) == ("INVALID_REQUEST", grpc.StatusCode.INVALID_ARGUMENT)
    assert "max_batch_products" in wrong.message
    assert garbled.reason == "CHECKPOINT_INVALID"
    assert "listed" in unknown.message
    assert platform.requests == []


async def test_a_time_before_the_year_2000_is_an_invalid_argument_and_reaches_no_platform() -> None:
    platform = ListedPlatform(products=PRODUCTS)
    async with running(platform) as connector:
        first_year = Timestamp(seconds=-62135596800)
        _, failure = await connector.failing(pb.FetchProductsRequest(shop=REF, updated_after=first_year))
    assert (failure.reason, failure.code) == ("INVALID_REQUEST", grpc.StatusCode.INVALID_ARGUMENT)
    assert "updated_after" in failure.message
    assert platform.requests == []


async def test_the_job_of_a_pass_is_cancelled_by_the_platforms_own_checkpoint() -> None:
    platform = ListedPlatform(products=PRODUCTS, job_running=True)
    async with running(platform) as connector:
        stream = connector.stub.FetchProducts(pb.FetchProductsRequest(shop=REF, max_batch_products=3))
        [checkpoint, *_] = [m.batch.checkpoint async for m in stream if m.HasField("batch")]
        request = pb.CancelFetchRequest(shop=REF, checkpoint=checkpoint)
        answers = [(await connector.stub.CancelFetch(request)).job_cancelled for _ in range(2)]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await connector.stub.CancelFetch(pb.CancelFetchRequest(shop=REF))
    assert answers == [True, False]
    [first, second] = platform.cancelled_checkpoints
    assert first == second
    assert first in [event.checkpoint for event in platform.yielded if isinstance(event, Batch)]
    assert "checkpoint" in (await read_failure(caught.value)).message


async def test_check_shop_returns_shop_info_and_failures() -> None:
    class Refusing(ListedPlatform):
        async def check(self, shop: Shop) -> ShopInfo:
            raise SourceUnauthorized(shop)

    async with running(ListedPlatform(products=PRODUCTS)) as connector:
        info = await connector.stub.CheckShop(pb.CheckShopRequest(shop=REF))
    assert info == pb.CheckShopResponse(currency_code="EUR", display_name="Shop", product_count=8)
    async with running(Refusing()) as connector:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await connector.stub.CheckShop(pb.CheckShopRequest(shop=REF))
    assert (await read_failure(caught.value)).reason == "SOURCE_UNAUTHORIZED"


async def test_platforms_are_listed_with_their_capabilities() -> None:
    async with running(ListedPlatform()) as connector:
        [platform] = (await connector.stub.ListPlatforms(pb.ListPlatformsRequest())).platforms
    assert (platform.name, platform.display_name) == ("listed", "Listed")
    assert platform.capabilities == pb.PlatformCapabilities(incremental=True)
    assert platform.domain_pattern
