"""What a server refuses or ends: sizes, metadata, time, rates, concurrent calls. The connection survives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

import grpc
import pytest
from catalogsync_common.call_context import outgoing_timeout, remaining_seconds
from catalogsync_common.call_limits import CallLimits
from catalogsync_common.metrics import CallMetrics
from catalogsync_common.rate_limiter import RateLimit
from catalogsync_common.server import TooManyHealthWatches
from catalogsync_common.status import ReceivedFailure, read_failure, read_failure_now
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from tests.integration.common.conftest import SERVICE, Handlers, LogLines, Running, Serve
from tests.integration.common.test_call_access import access, token
from tests.waiting import TIMEOUT_SECONDS, forever, until_found, within_timeout

UNARY = f"/{SERVICE}/unary_unary"
CHECK = health_pb2.HealthCheckRequest(service=SERVICE)
WATCHES = 200
QUICK: Final = MappingProxyType({"grpc.max_connection_age_ms": 100})
"""Connections that are old after a tenth of a second."""


async def peer(request: StringValue, context: Any) -> StringValue:
    """Answer with the client's port: whether two calls came over the same connection."""
    return StringValue(value=context.peer())


async def hang(request: StringValue, context: Any) -> StringValue:
    await forever()


async def first_then_hang(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
    yield StringValue(value="first")
    await forever()


HANDLERS = Handlers(unary_unary=hang, unary_stream=first_then_hang)


async def refusal(call: Any) -> ReceivedFailure | None:
    """Return why a stream was refused; None if its first message arrived."""
    try:
        assert (await call.read()).value == "first"
    except grpc.aio.AioRpcError as error:
        return await read_failure(error, call)
    return None


async def streams_that_fit(running: Running, count: int) -> list[Any] | None:
    """Return `count` open streams; None if not all of them were accepted."""
    calls = [running.open("unary_stream") for _ in range(count)]
    if any(await asyncio.gather(*map(refusal, calls))):
        for call in calls:
            call.cancel()
        return None
    return calls


class TestSizes:
    """A message or metadata that is too large is refused with a code that says so."""

    async def test_a_request_that_is_too_large_does_not_end_the_connection(self, serve: Serve) -> None:
        async with (
            serve(Handlers(unary_unary=peer)) as running,
            grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel,
        ):
            before = await running.raw(b"", channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.raw(b"x" * (4 * 2**20 + 1), channel)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert await running.raw(b"", channel) == before

    async def test_metadata_above_8_kib_is_always_refused_and_below_never(self, serve: Serve) -> None:
        """With the soft limit alone gRPC draws lots between 8 and 16 KiB."""
        async with serve(Handlers(unary_unary=peer)) as running:
            (before,) = await running.call("unary_unary", metadata=(("x-large", "x" * 7_400),))
            codes = set()
            for _ in range(20):
                await running.call("unary_unary", metadata=(("x-large", "x" * 7_400),))
                error = await running.error("unary_unary", metadata=(("x-large", "x" * 8_192),))
                many = await running.error("unary_unary", metadata=tuple((f"x-{n}", "x" * 80) for n in range(100)))
                codes |= {error.code(), many.code()}
            assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
            assert await running.call("unary_unary") == [before]

    async def test_a_unary_call_without_a_request_is_invalid(self, serve: Serve) -> None:
        async with serve(Handlers(unary_unary=peer)) as running:
            method: Any = running.channel.stream_unary(UNARY)
            call = method(iter(()), timeout=TIMEOUT_SECONDS)
            assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "request: is missing" in await call.details()


class TestTime:
    """No unary call takes longer than the server allows, and no request may arrive as slowly as it likes."""

    @pytest.mark.parametrize("deadline", [None, TIMEOUT_SECONDS])
    async def test_a_unary_call_ends_at_the_servers_limit(
        self, serve: Serve, logged: LogLines, deadline: float | None
    ) -> None:
        cancelled = asyncio.Event()

        async def unary(request: StringValue, context: Any) -> StringValue:
            try:
                await forever()
            finally:
                cancelled.set()

        limits = CallLimits(call_time=timedelta(milliseconds=50))
        async with serve(Handlers(unary_unary=unary), limits=limits) as running:
            error = await running.error("unary_unary", timeout=deadline)
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert "the maximum for this method" in (error.details() or "")
            assert (await logged.call())["code"] == "DEADLINE_EXCEEDED"
        assert cancelled.is_set()

    @pytest.mark.parametrize(
        ("deadline", "limits", "least", "most"),
        [
            (None, CallLimits(), 20, 30),
            (3600, CallLimits(), 20, 30),
            (None, CallLimits(call_time=timedelta(), longer_call_times={UNARY: timedelta(hours=1)}), 3000, 3600),
        ],
        ids=["no deadline", "a longer one", "a method that may take longer"],
    )
    async def test_a_handler_knows_the_time_that_the_server_allows(
        self, serve: Serve, deadline: float | None, limits: CallLimits, least: float, most: float
    ) -> None:
        seen: list[float] = []

        async def unary(request: StringValue, context: Any) -> StringValue:
            seen.append(remaining_seconds() or 0)
            seen.append(outgoing_timeout(10 * 3600))
            return request

        async with serve(Handlers(unary_unary=unary), limits=limits) as running:
            await running.call("unary_unary", timeout=deadline)
        assert all(least < seconds <= most for seconds in seen)

    async def test_a_stream_may_take_longer_than_a_unary_call(self, serve: Serve) -> None:
        unary_has_ended = asyncio.Event()

        async def stream(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
            yield StringValue(value="first")
            await unary_has_ended.wait()
            yield StringValue(value="second")

        limits = CallLimits(call_time=timedelta(milliseconds=50))
        async with serve(Handlers(unary_unary=hang, unary_stream=stream), limits=limits) as running:
            call = running.open("unary_stream")
            assert (await call.read()).value == "first"
            assert (await running.error("unary_unary")).code() is grpc.StatusCode.DEADLINE_EXCEEDED
            unary_has_ended.set()
            assert (await call.read()).value == "second"

    async def test_a_timeout_of_the_handler_itself_is_not_the_servers_limit(self, serve: Serve) -> None:
        async def unary(request: StringValue, context: Any) -> StringValue:
            raise TimeoutError

        async with serve(Handlers(unary_unary=unary)) as running:
            assert (await running.error("unary_unary")).code() is grpc.StatusCode.INTERNAL

    @pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
    async def test_a_request_that_never_arrives_is_given_up(self, serve: Serve, kind: str) -> None:
        async def never() -> AsyncIterator[bytes]:
            await forever()
            yield b""

        limits = CallLimits(request_time=timedelta(milliseconds=50), concurrent_calls=1)
        async with serve(Handlers(unary_unary=peer, unary_stream=first_then_hang), limits=limits) as running:
            method: Any = running.channel.stream_stream(f"/{SERVICE}/{kind}")
            call = method(never(), timeout=TIMEOUT_SECONDS)
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
            assert await running.call("unary_unary"), "the place of the call is free"


class TestRates:
    """A principal or a shop above its rate is told when to come again."""

    async def test_a_principal_above_its_rate_is_refused_and_counted(self, serve: Serve, logged: LogLines) -> None:
        registry = CollectorRegistry()
        limits = CallLimits(clients=RateLimit(per_second=0.001, burst=2))
        meter, options = CallMetrics(registry), {"metadata": token()}
        async with serve(Handlers(unary_unary=peer), limits=limits, meter=meter, access=access()) as running:
            for _ in range(2):
                await running.call("unary_unary", "mine", **options)
            failure = read_failure_now(await running.error("unary_unary", "mine", **options))
            stub = health_pb2_grpc.HealthStub(running.channel)
            assert (await stub.Check(CHECK)).status == health_pb2.HealthCheckResponse.SERVING
        assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        assert failure.metadata["limit_kind"] == "client"
        assert failure.is_transient
        assert failure.retry_after is not None
        assert failure.retry_after > timedelta(minutes=10)
        labels = {"grpc_method": UNARY.removeprefix("/"), "limit": "client"}
        assert registry.get_sample_value("grpc_server_calls_refused_total", labels) == 1
        assert '"limit": "client"' in logged.text


class TestConcurrentCalls:
    """More calls than a server takes are refused, and whatever ends a call frees its place."""

    async def test_calls_above_the_limit_are_refused_until_others_end(self, serve: Serve) -> None:
        async with serve(HANDLERS, limits=CallLimits(concurrent_calls=3)) as running:
            for _ in range(3):
                calls = await within_timeout(until_found(lambda: streams_that_fit(running, 3)))
                failure = await refusal(running.open("unary_stream"))
                assert failure is not None
                assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
                assert failure.metadata == {"limit_kind": "server", "limit": "3"}
                for call in calls:
                    call.cancel()

    async def test_deadlines_and_disconnects_free_their_places(self, serve: Serve) -> None:
        async with serve(HANDLERS, limits=CallLimits(concurrent_calls=3)) as running:
            hanging = [running.open("unary_unary", timeout=0.1) for _ in range(3)]
            assert {await call.code() for call in hanging} == {grpc.StatusCode.DEADLINE_EXCEEDED}
            async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
                other = replace(running, channel=channel)
                await until_found(lambda: streams_that_fit(other, 3))
            # Its channel is closed.
            await until_found(lambda: streams_that_fit(running, 3))

    async def test_a_stalled_stream_keeps_its_place_until_its_client_is_gone(self, serve: Serve) -> None:
        """It costs memory until then; the client must not open any number of them."""
        freed = asyncio.Event()

        async def endless(request: Any, context: Any) -> AsyncIterator[StringValue]:
            try:
                while True:
                    yield StringValue(value="x" * 100_000)
            finally:
                freed.set()

        handlers = Handlers(unary_unary=peer, unary_stream=endless)
        limits = CallLimits(concurrent_calls=1)
        async with serve(handlers, limits=limits, write_timeout=timedelta(milliseconds=100)) as running:
            call = running.open("unary_stream")
            await call.read()
            await within_timeout(freed.wait())
            assert read_failure_now(await running.error("unary_unary")).metadata["limit_kind"] == "server"
            call.cancel()

            async def answer() -> list[str] | None:
                try:
                    return await running.call("unary_unary")
                except grpc.aio.AioRpcError:
                    return None

            assert await until_found(answer)

    async def test_health_is_answered_when_no_other_call_fits(self, serve: Serve) -> None:
        async with serve(HANDLERS, limits=CallLimits(concurrent_calls=1)) as running:
            await until_found(lambda: streams_that_fit(running, 1))
            assert await refusal(running.open("unary_stream")) is not None
            stub = health_pb2_grpc.HealthStub(running.channel)
            assert (await stub.Check(CHECK)).status == health_pb2.HealthCheckResponse.SERVING
            watch = stub.Watch(CHECK)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING

    async def test_health_watches_are_bounded_and_the_others_can_still_check(self, serve: Serve) -> None:
        async with serve(HANDLERS) as running:
            stub = health_pb2_grpc.HealthStub(running.channel)
            for _ in range(2):

                async def open_all() -> list[Any] | None:
                    watches = [stub.Watch(CHECK) for _ in range(WATCHES)]
                    read = await asyncio.gather(*(each.read() for each in watches), return_exceptions=True)
                    if any(isinstance(each, BaseException) for each in read):
                        for watch in watches:
                            watch.cancel()
                        return None
                    return watches

                watches = await until_found(open_all)
                one_more = stub.Watch(CHECK)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await one_more.read()
                failure = await read_failure(caught.value, one_more)
                assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert failure.metadata["limit_kind"] == TooManyHealthWatches(WATCHES).kind
                assert (await stub.Check(CHECK)).status == health_pb2.HealthCheckResponse.SERVING
                for watch in watches:
                    watch.cancel()

    async def test_grpc_itself_refuses_calls_above_the_hard_limit_and_forgets_ended_ones(
        self, serve: Serve
    ) -> None:
        async with serve(HANDLERS, limits=CallLimits(max_rpcs=3)) as running:
            for _ in range(3):
                calls = await until_found(lambda: streams_that_fit(running, 3))
                failure = await refusal(running.open("unary_stream"))
                assert failure is not None
                assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
                for call in calls:
                    call.cancel()
                await until_found(lambda: streams_that_fit(running, 0))
            hanging = [running.open("unary_unary", timeout=0.1) for _ in range(3)]
            await asyncio.gather(*(call.code() for call in hanging))
            assert await until_found(lambda: streams_that_fit(running, 3))

    async def test_a_connection_carries_a_bounded_number_of_streams(self, serve: Serve) -> None:
        async with serve(HANDLERS, options={"grpc.max_concurrent_streams": 2}) as running:
            calls = await until_found(lambda: streams_that_fit(running, 2))
            waiting = asyncio.create_task(refusal(running.open("unary_stream")))
            async with AsyncExitStack() as stack:
                options = (("grpc.use_local_subchannel_pool", 1),)
                channel = grpc.aio.insecure_channel(f"127.0.0.1:{running.port}", options=options)
                await stack.enter_async_context(channel)
                other = replace(running, channel=channel)
                assert await until_found(lambda: streams_that_fit(other, 2))
            assert not waiting.done()
            calls[0].cancel()
            assert await within_timeout(waiting) is None


class TestConnections:
    """Connections end by their age, which clients do not notice."""

    async def test_unary_calls_move_to_new_connections_without_an_error(self, serve: Serve) -> None:
        async with serve(Handlers(unary_unary=peer), options=QUICK) as running:
            peers: set[str] = set()
            while len(peers) < 4:
                peers.update(await running.call("unary_unary", timeout=TIMEOUT_SECONDS))

    async def test_a_stream_goes_on_when_its_connection_is_old_unless_the_server_sets_a_grace(
        self, serve: Serve
    ) -> None:
        go_on = asyncio.Event()

        async def stream(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
            yield StringValue(value="first")
            await go_on.wait()
            yield StringValue(value="second")

        handlers = Handlers(unary_unary=peer, unary_stream=stream)
        async with serve(handlers, options=QUICK) as running:
            call = running.open("unary_stream")
            assert (await call.read()).value == "first"
            peers: set[str] = set()
            while len(peers) < 3:
                peers.update(await running.call("unary_unary", timeout=TIMEOUT_SECONDS))
            go_on.set()
            assert (await call.read()).value == "second"

        go_on.clear()
        options = {**QUICK, "grpc.max_connection_age_grace_ms": 100}
        async with serve(handlers, options=options) as running:
            call = running.open("unary_stream")
            assert (await call.read()).value == "first"
            assert await within_timeout(call.code()) is not grpc.StatusCode.OK

    async def test_the_private_names_of_the_options_for_many_pending_calls_have_their_effect(
        self, serve: Serve
    ) -> None:
        """If a release of gRPC renames them, storms of reconnects end in CANCELLED again."""
        options = {"grpc.server.max_pending_requests": 5, "grpc.server.max_pending_requests_hard_limit": 10}
        async with serve(HANDLERS, options=options) as running:
            calls = [running.open("unary_stream") for _ in range(900)]
            refused = [failure for failure in await asyncio.gather(*map(refusal, calls)) if failure]
            assert refused, "the options have no effect: the server uses gRPC's defaults"
            assert all(failure.is_transient for failure in refused), "clients come back"
        async with serve(HANDLERS) as running:
            calls = [running.open("unary_stream") for _ in range(900)]
            assert not any(await asyncio.gather(*map(refusal, calls)))
