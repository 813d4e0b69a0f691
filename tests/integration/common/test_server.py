"""A server: its address, health, graceful stop and limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import pytest
from catalogsync_common.channel import open_channel
from catalogsync_common.drain import Drain
from catalogsync_common.server import LIVENESS, ListenError, build_server
from catalogsync_common.settings import ListenAddress, SettingsError
from catalogsync_common.status import read_failure, read_failure_now
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.integration.common.conftest import SERVICE, Handlers, LogLines, Running, Serve
from tests.waiting import TIMEOUT_SECONDS, forever, let_tasks_run, until, within_timeout

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def echo(request: StringValue, context: Any) -> StringValue:
    return request


def wait_for_drain(drain: list[Drain]) -> Handlers:
    """Return handlers of which the stream sends one message and then waits for the drain."""

    async def stream(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield StringValue(value="first")
        await drain[0].wait()

    return Handlers(unary_stream=stream, unary_unary=echo)


async def health(running: Running, service: str) -> Any:
    stub = health_pb2_grpc.HealthStub(running.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_SECONDS)).status


async def test_health_lists_the_server_and_each_service(serve: Serve) -> None:
    async with serve(Handlers()) as running:
        stub = health_pb2_grpc.HealthStub(running.channel)
        listed = await stub.List(health_pb2.HealthListRequest(), timeout=5)
        statuses = {name: answer.status for name, answer in listed.statuses.items()}
        assert statuses == {"": SERVING, SERVICE: SERVING, LIVENESS: SERVING}


async def test_health_answers_for_the_server_and_each_service(serve: Serve) -> None:
    async with serve(Handlers(unary_unary=echo)) as running:
        assert await health(running, "") == SERVING
        assert await health(running, SERVICE) == SERVING
        await running.server.set_serving(False)
        assert await health(running, "") == NOT_SERVING
        assert await health(running, SERVICE) == NOT_SERVING
        assert await health(running, LIVENESS) == SERVING
        await running.server.set_live(False)
        assert await health(running, LIVENESS) == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health(running, "no.such.Service")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_health_is_not_serving_until_the_service_sets_it() -> None:
    server = build_server((), listen_address=ListenAddress("127.0.0.1:0"), drain=Drain())
    port = await server.start()
    async with open_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest(service=""))).status == NOT_SERVING
    await server.stop(timedelta())


async def test_a_health_watch_sees_changes_and_does_not_delay_the_stop(serve: Serve) -> None:
    async with serve(Handlers(unary_unary=echo)) as running:
        watch = health_pb2_grpc.HealthStub(running.channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watch.read()).status == SERVING
        stopping = asyncio.create_task(running.server.stop(timedelta(hours=1)))
        assert (await watch.read()).status == NOT_SERVING
        assert await watch.code() is grpc.StatusCode.UNAVAILABLE
        await within_timeout(stopping)


async def test_a_drain_ends_open_streams_with_a_reason_and_without_waiting_for_the_grace(serve: Serve) -> None:
    drains: list[Drain] = []
    async with serve(wait_for_drain(drains)) as running:
        drains.append(running.drain)
        call = running.open("unary_stream")
        assert (await call.read()).value == "first"
        stopping = asyncio.create_task(running.server.stop(timedelta(hours=1)))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        received = await read_failure(caught.value, call)
        await within_timeout(stopping)
        assert (received.code, received.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
        assert received.retry_after is not None


async def test_a_running_call_may_finish_within_the_grace_and_new_ones_are_rejected(serve: Serve) -> None:
    entered, finish = asyncio.Event(), asyncio.Event()

    async def slow(request: StringValue, context: Any) -> StringValue:
        entered.set()
        await finish.wait()
        return StringValue(value="done")

    async with serve(Handlers(unary_unary=slow)) as running:
        call = asyncio.create_task(running.call("unary_unary"))
        await entered.wait()
        stopping = asyncio.create_task(running.server.stop(timedelta(seconds=TIMEOUT_SECONDS)))
        await until(lambda: running.drain.started)
        async with open_channel(f"127.0.0.1:{running.port}") as late:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.raw(b"", late)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        finish.set()
        assert await call == ["done"]
        await stopping


async def test_a_stop_waits_for_the_clean_up_of_the_calls_that_it_cancels(serve: Serve) -> None:
    """What is closed after the stop, such as a pool of connections, must not be in use any more."""
    entered = asyncio.Event()
    cleaned_up = asyncio.Event()

    async def stream(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        try:
            entered.set()
            await forever()
        finally:
            for _ in range(3):
                await let_tasks_run()
            cleaned_up.set()
        yield StringValue()

    async with serve(Handlers(unary_stream=stream)) as running:
        call = asyncio.create_task(running.call("unary_stream"))
        await within_timeout(entered.wait())
        await within_timeout(running.server.stop(timedelta()))
        assert cleaned_up.is_set()
        with pytest.raises(grpc.aio.AioRpcError):
            await call


async def test_between_not_serving_and_the_drain_calls_are_still_answered(serve: Serve) -> None:
    drains: list[Drain] = []
    async with serve(wait_for_drain(drains)) as running:
        drains.append(running.drain)
        settling = asyncio.create_task(running.server.stop(timedelta(), settle=timedelta(hours=1)))
        await let_tasks_run()
        assert await health(running, "") == NOT_SERVING
        assert await running.call("unary_unary", "still here") == ["still here"]
        assert not running.drain.started
        settling.cancel()
        await running.server.stop(timedelta(), settle=timedelta(milliseconds=1))
        assert running.drain.started


async def test_a_port_that_is_in_use_is_an_error_and_not_shared(serve: Serve) -> None:
    async with serve(Handlers(unary_unary=echo)) as running:
        address = ListenAddress(f"127.0.0.1:{running.port}")
        second = build_server((), listen_address=address, drain=Drain())
        with pytest.raises(ListenError, match=rf"Cannot listen on 127\.0\.0\.1:{running.port}"):
            await second.start()
        await second.stop(timedelta())


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "10.1.2.3:0"])
async def test_an_address_reachable_by_other_machines_is_rejected(address: str) -> None:
    with pytest.raises(SettingsError, match="ALLOW_INSECURE"):
        build_server((), listen_address=ListenAddress(address), drain=Drain())


async def test_an_address_reachable_by_other_machines_is_allowed_on_request_with_a_warning(
    logged: LogLines,
) -> None:
    server = build_server((), listen_address=ListenAddress("0.0.0.0:0"), drain=Drain(), allow_insecure=True)
    assert await server.start() > 0
    await server.stop(timedelta())
    assert any(line["level"] == "WARNING" and "0.0.0.0" in line["message"] for line in logged.all)


async def test_two_thousand_watchers_can_connect_at_once(serve: Serve) -> None:
    """Without its own limits gRPC answers CANCELLED to some of them."""
    drains: list[Drain] = []
    async with serve(wait_for_drain(drains)) as running, AsyncExitStack() as stack:
        drains.append(running.drain)
        # A connection carries up to a thousand streams.
        calls: list[Any] = []
        for _ in range(4):
            options = (("grpc.use_local_subchannel_pool", 1),)
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{running.port}", options=options)
            await stack.enter_async_context(channel)
            calls += [replace(running, channel=channel).open("unary_stream") for _ in range(500)]
        first = await asyncio.gather(*(call.read() for call in calls))
        assert {message.value for message in first} == {"first"}
        running.drain.start()
        ends = await asyncio.gather(*(call.code() for call in calls))
        assert set(ends) == {grpc.StatusCode.UNAVAILABLE}


async def test_a_request_above_4_mib_is_rejected_and_a_response_of_8_mib_arrives(serve: Serve) -> None:
    async def unary(request: StringValue, context: Any) -> StringValue:
        return StringValue(value="x" * (8 * 2**20 - 100))

    async with serve(Handlers(unary_unary=unary)) as running:
        assert len((await running.call("unary_unary"))[0]) == 8 * 2**20 - 100
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as other_channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.raw(b"x" * (4 * 2**20 + 1), other_channel)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_unreachable_server_is_a_transient_error_without_a_reason() -> None:
    async with open_channel("127.0.0.1:1") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS
            )
    received = read_failure_now(caught.value)
    assert (received.code, received.reason) == (grpc.StatusCode.UNAVAILABLE, "")
    assert received.is_transient
