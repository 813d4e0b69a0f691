"""Every call ends with a status that has details but no internals, and with one line in the access log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from catalogsync_common.call_context import correlation_id, remaining_seconds
from catalogsync_common.failure import Failure, FieldViolation, InvalidRequest
from catalogsync_common.status import DETAILS_KEY, MAX_STATUS_BYTES, read_failure, read_failure_now
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import status_pb2

from tests.integration.common.conftest import SERVICE, Handlers, LogLines, Serve
from tests.waiting import TIMEOUT_SECONDS, forever, until, until_stable, within_timeout

KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]
SECRET = "postgresql://catalog:hunter2@10.0.0.5/catalog"


class SyncNotFound(Failure):
    reason = "SYNC_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("There is no sync 7.", metadata={"sync_id": "7"})


class FailureWithUnknownReason(Failure):
    reason = "IN_NO_TABLE"


async def consume(request: Any) -> None:
    """Read a stream of requests to its end.

    When a server ends a call while its client still writes, grpc.aio's client may report INTERNAL "Internal error
    from Core" instead of the server's status.
    """
    if hasattr(request, "__aiter__"):
        async for _ in request:
            pass


def raising(make: Callable[[], BaseException]) -> Handlers:
    """Return handlers of all kinds that raise; streams after two messages."""

    async def unary(request: Any, context: Any) -> StringValue:
        await consume(request)
        raise make()

    async def stream(request: Any, context: Any) -> AsyncIterator[StringValue]:
        await consume(request)
        yield StringValue(value="1")
        yield StringValue(value="2")
        raise make()

    return Handlers(unary_unary=unary, stream_unary=unary, unary_stream=stream, stream_stream=stream)


async def inner_cancelled() -> StringValue:
    inner = asyncio.create_task(forever())
    inner.cancel()
    await inner
    return StringValue()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_failure_arrives_with_its_code_reason_and_metadata(kind: str, serve: Serve) -> None:
    async with serve(raising(SyncNotFound)) as running:
        received = await read_failure(await running.error(kind))
        assert (received.code, received.reason) == (grpc.StatusCode.NOT_FOUND, "SYNC_NOT_FOUND")
        assert (received.message, received.metadata) == ("There is no sync 7.", {"sync_id": "7"})
        assert running.received == ([] if kind.endswith("unary") else ["1", "2"])


async def read_all(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


@pytest.mark.parametrize("kind", ["unary_stream", "stream_stream"])
async def test_a_stream_ended_by_a_failure_can_be_read_from_its_call(kind: str, serve: Serve) -> None:
    async with serve(raising(SyncNotFound)) as running:
        call = running.open(kind, timeout=TIMEOUT_SECONDS)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read_all(call)
        assert (await read_failure(caught.value, call)).reason == "SYNC_NOT_FOUND"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "make",
    [
        lambda: ValueError(SECRET),
        lambda: FailureWithUnknownReason(SECRET),
        lambda: Failure(SECRET),
        lambda: NotImplementedError(SECRET),
    ],
    ids=["exception", "unknown reason", "no reason", "not implemented"],
)
async def test_an_unexpected_exception_is_reported_to_the_client_only_as_an_error_id(
    kind: str, make: Callable[[], Exception], serve: Serve, logged: LogLines
) -> None:
    async with serve(raising(make)) as running:
        error = await running.error(kind)
        received = read_failure_now(error)
        assert (received.code, received.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
        visible = f"{error!r} {error.trailing_metadata()} {error.initial_metadata()}"
        for word in ("hunter2", "10.0.0.5", "postgresql", type(make()).__name__, "Traceback"):
            assert word not in visible
        line = await logged.call()
        assert line["error_id"] == received.metadata["error_id"]
        assert received.metadata["error_id"] in received.message
        assert (line["level"], line["code"]) == ("ERROR", "INTERNAL")
        assert type(make()).__name__ in line["exception"]
        assert "hunter2" not in logged.text


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
async def test_a_cancelled_inner_task_is_an_error_and_not_a_hang(kind: str, serve: Serve) -> None:
    async def unary(request: StringValue, context: Any) -> StringValue:
        return await inner_cancelled()

    async def stream(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield await inner_cancelled()

    async with serve(Handlers(unary_unary=unary, unary_stream=stream)) as running:
        error = await running.error(kind, timeout=TIMEOUT_SECONDS)
        assert error.code() is grpc.StatusCode.INTERNAL


async def test_an_abort_by_a_handler_passes_through(serve: Serve, logged: LogLines) -> None:
    async def unary(request: StringValue, context: Any) -> StringValue:
        await context.abort(grpc.StatusCode.ABORTED, "plain abort")
        return StringValue()

    async with serve(Handlers(unary_unary=unary)) as running:
        error = await running.error("unary_unary")
        assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "plain abort")
        assert (await logged.call())["code"] == "ABORTED"


async def test_a_code_set_without_raising_passes_through(serve: Serve, logged: LogLines) -> None:
    async def unary(request: StringValue, context: Any) -> None:
        context.set_code(grpc.StatusCode.OUT_OF_RANGE)
        context.set_details("too far")

    async with serve(Handlers(unary_unary=unary)) as running:
        error = await running.error("unary_unary")
        assert (error.code(), error.details()) == (grpc.StatusCode.OUT_OF_RANGE, "too far")
        assert (await logged.call())["code"] == "OUT_OF_RANGE"


async def test_a_method_left_to_the_generated_servicer_is_not_implemented(serve: Serve) -> None:
    async def unary(request: StringValue, context: Any) -> None:
        context.set_code(grpc.StatusCode.UNIMPLEMENTED)
        context.set_details("Method not implemented!")
        raise NotImplementedError("Method not implemented!")

    async with serve(Handlers(unary_unary=unary)) as running:
        received = read_failure_now(await running.error("unary_unary"))
        assert (received.code, received.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED")


async def test_an_unknown_method_is_unimplemented(serve: Serve) -> None:
    async with serve(Handlers()) as running:
        assert (await running.error("unary_unary")).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_an_unparsable_request_is_invalid(serve: Serve) -> None:
    async def unary(request: StringValue, context: Any) -> StringValue:
        return request

    async with serve(Handlers(unary_unary=unary)) as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.raw(b"\xff\xff\xff")
        received = read_failure_now(caught.value)
        assert (received.code, received.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
async def test_a_response_of_the_wrong_type_is_an_internal_error_without_details(kind: str, serve: Serve) -> None:
    async def unary(request: StringValue, context: Any) -> Any:
        return {"dsn": SECRET}

    async def stream(request: StringValue, context: Any) -> AsyncIterator[Any]:
        yield {"dsn": SECRET}

    async with serve(Handlers(unary_unary=unary, unary_stream=stream)) as running:
        error = await running.error(kind)
        assert error.code() is grpc.StatusCode.INTERNAL
        assert read_failure_now(error).reason == "INTERNAL"


async def test_the_deadline_reaches_the_handler_and_the_log(serve: Serve, logged: LogLines) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def unary(request: StringValue, context: Any) -> StringValue:
        started.set()
        try:
            await forever()
        finally:
            ended.set()

    async with serve(Handlers(unary_unary=unary)) as running, asyncio.timeout(TIMEOUT_SECONDS):
        seconds = 0.2
        # On a busy machine a deadline may pass before the call arrives, or at the client before it does at the
        # server, whose log then says CANCELLED.
        while '"DEADLINE_EXCEEDED"' not in logged.text:
            error = await running.error("unary_unary", timeout=seconds)
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            if started.is_set():
                await ended.wait()
                await until(lambda: '"DEADLINE_EXCEEDED"' in logged.text or '"CANCELLED"' in logged.text)
            seconds = min(2 * seconds, 2)
    assert started.is_set()


@pytest.mark.parametrize("reads", [1, 0], ids=["during a write", "before reading"])
async def test_a_stream_cleans_up_in_its_own_task_when_the_client_disconnects(
    reads: int, serve: Serve, logged: LogLines
) -> None:
    tasks: list[asyncio.Task[Any] | None] = []
    ended = asyncio.Event()
    sent = 0

    async def stream(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        nonlocal sent
        tasks.append(asyncio.current_task())
        try:
            # A timeout held across `yield` breaks when another task closes the generator.
            async with asyncio.timeout(60):
                while True:
                    sent += 1
                    yield StringValue(value="x" * 200_000)
        finally:
            await asyncio.sleep(0)
            tasks.append(asyncio.current_task())
            ended.set()

    async with serve(Handlers(unary_stream=stream)) as running:
        call = running.open("unary_stream")
        for _ in range(reads):
            await call.read()
        await until(lambda: tasks)
        await until_stable(lambda: sent)
        assert len(tasks) == 1
        call.cancel()
        await within_timeout(ended.wait())
        assert tasks[0] is tasks[1]
        line = await logged.call()
        assert (line["code"], line["level"]) == ("CANCELLED", "INFO")


@pytest.mark.parametrize("kind", KINDS)
async def test_each_call_logs_one_line_without_its_messages(kind: str, serve: Serve, logged: LogLines) -> None:
    async def unary(request: Any, context: Any) -> StringValue:
        await consume(request)
        return StringValue(value="canary-response")

    async def stream(request: Any, context: Any) -> AsyncIterator[StringValue]:
        await consume(request)
        yield StringValue(value="canary-response")

    handlers = Handlers(unary_unary=unary, stream_unary=unary, unary_stream=stream, stream_stream=stream)
    async with serve(handlers) as running:
        metadata = (("x-correlation-id", "corr-1"), ("authorization", "Bearer canary-token"))
        assert await running.call(kind, "canary-request", metadata=metadata) == ["canary-response"]
        line = await logged.call()
        assert line["method"] == f"/{SERVICE}/{kind}"
        assert (line["code"], line["correlation_id"], line["level"]) == ("OK", "corr-1", "INFO")
        assert line["peer"].startswith("ipv4:127.0.0.1:")
        assert line["duration_ms"] >= 0
        assert "reason" not in line
        assert "canary" not in logged.text


async def test_a_failed_call_logs_its_reason_and_no_traceback(serve: Serve, logged: LogLines) -> None:
    async with serve(raising(SyncNotFound)) as running:
        await running.error("unary_unary")
        line = await logged.call()
        assert (line["code"], line["reason"], line["level"]) == ("NOT_FOUND", "SYNC_NOT_FOUND", "INFO")
        assert "exception" not in line


@pytest.mark.parametrize("kind", KINDS)
async def test_the_correlation_id_is_set_in_the_handler_and_returned(kind: str, serve: Serve) -> None:
    async def unary(request: Any, context: Any) -> StringValue:
        await consume(request)
        return StringValue(value=correlation_id.get())

    async def stream(request: Any, context: Any) -> AsyncIterator[StringValue]:
        await consume(request)
        yield StringValue(value=correlation_id.get())

    handlers = Handlers(unary_unary=unary, stream_unary=unary, unary_stream=stream, stream_stream=stream)
    async with serve(handlers) as running:
        for sent, kept in (("corr-1", True), ("not well formed", False), (None, False)):
            metadata = (("x-correlation-id", sent),) if sent else ()
            call = running.open(kind, metadata=metadata)
            seen = (await call).value if kind.endswith("unary") else (await call.read()).value
            assert dict(await call.trailing_metadata())["x-correlation-id"] == seen
            assert (seen == sent) is kept
            assert seen


async def test_the_correlation_id_is_returned_with_an_error_too(serve: Serve) -> None:
    async with serve(raising(SyncNotFound)) as running:
        error = await running.error("unary_unary", metadata=(("x-correlation-id", "corr-1"),))
        assert dict(error.trailing_metadata())["x-correlation-id"] == "corr-1"


async def test_a_hundred_long_violations_always_arrive_within_the_limit(serve: Serve) -> None:
    def make() -> Failure:
        return InvalidRequest(*(FieldViolation(field=f"f{n}", description="é" * 300) for n in range(100)))

    async with serve(raising(make)) as running:
        for _ in range(20):
            error = await running.error("unary_unary")
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            raw = dict(error.trailing_metadata())[DETAILS_KEY]
            assert len(raw) <= MAX_STATUS_BYTES
            assert status_pb2.Status.FromString(raw).message == error.details()


async def test_every_log_line_is_json(serve: Serve, logged: LogLines) -> None:
    async with serve(raising(SyncNotFound)) as running:
        await running.error("unary_unary")
    assert all(json.loads(line) for line in logged.text.splitlines())


async def test_the_resources_of_a_stream_that_is_not_read_are_released_after_the_write_timeout(
    serve: Serve, logged: LogLines
) -> None:
    freed = asyncio.Event()

    async def endless(request: Any, context: Any) -> AsyncIterator[StringValue]:
        try:
            while True:
                yield StringValue(value="x" * 100_000)
        finally:
            freed.set()

    async with serve(Handlers(unary_stream=endless), write_timeout=timedelta(milliseconds=200)) as running:
        call = running.open("unary_stream")
        await call.read()
        await within_timeout(freed.wait())

        async def rest() -> None:
            while await call.read() is not grpc.aio.EOF:
                pass

        # The client receives the status when it reads on.
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await rest()
        failure = await read_failure(ended.value, call)
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "STREAM_EXPIRED")
    assert (await logged.call())["code"] == "UNAVAILABLE"


@pytest.mark.parametrize(("seconds", "known"), [(60, True), (None, False)])
async def test_a_stream_knows_the_deadline_of_its_caller(serve: Serve, seconds: float | None, known: bool) -> None:
    seen: list[float | None] = []

    async def stream(request: Any, context: Any) -> AsyncIterator[StringValue]:
        seen.append(remaining_seconds())
        yield StringValue()

    async with serve(Handlers(unary_stream=stream)) as running:
        await running.call("unary_stream", timeout=seconds)
    (remaining,) = seen
    assert (remaining is not None) is known
    assert remaining is None or 0 < remaining < 120, "rounded up on its way"
