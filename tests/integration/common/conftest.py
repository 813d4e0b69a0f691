"""Fixtures: a small gRPC service on a real socket, with handlers defined by each test."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import grpc
import pytest
from catalogsync_common.access_log import CallMeter
from catalogsync_common.auth.call_access import CallAccess
from catalogsync_common.call_limits import CallLimits
from catalogsync_common.channel import open_channel
from catalogsync_common.drain import Drain
from catalogsync_common.logs import JsonFormatter
from catalogsync_common.server import GrpcServer, Service, build_server
from catalogsync_common.settings import ListenAddress
from google.protobuf.wrappers_pb2 import StringValue

from tests.waiting import TIMEOUT_SECONDS, let_tasks_run, until

SERVICE = "test.Probe"

Handler = Callable[[Any, Any], Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Handlers:
    """The handlers of the service, one per kind of call; each is served as the method with its field's name."""

    unary_unary: Handler | None = None
    unary_stream: Handler | None = None
    stream_unary: Handler | None = None
    stream_stream: Handler | None = None

    def register(self, server: grpc.aio.Server) -> None:
        methods = {
            kind: getattr(grpc, f"{kind}_rpc_method_handler")(
                behaviour, StringValue.FromString, StringValue.SerializeToString
            )
            for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
            if (behaviour := getattr(self, kind)) is not None
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A running server, and a channel to it."""

    server: GrpcServer
    drain: Drain
    port: int
    channel: grpc.aio.Channel
    received: list[str] = field(default_factory=list)
    """The responses that the last `call` received before it ended."""

    def open(self, kind: str, request: str = "", **options: Any) -> Any:
        """Start a call and return the call object."""
        multi = getattr(self.channel, kind)(
            f"/{SERVICE}/{kind}", StringValue.SerializeToString, StringValue.FromString
        )
        message = StringValue(value=request)
        return multi(iter([message]) if kind.startswith("stream") else message, **options)

    async def call(self, kind: str, request: str = "", **options: Any) -> list[str]:
        """Make a call and return the values of all responses, or raise AioRpcError."""
        self.received.clear()
        call = self.open(kind, request, **options)
        if kind.endswith("unary"):
            self.received.append((await call).value)
        else:
            async for response in call:
                self.received.append(response.value)
        return list(self.received)

    async def raw(self, request: bytes, channel: grpc.aio.Channel | None = None) -> bytes:
        """Return the response of "unary_unary" to raw bytes."""
        call: Any = (channel or self.channel).unary_unary(f"/{SERVICE}/unary_unary")
        response: bytes = await call(request, timeout=TIMEOUT_SECONDS)
        return response

    async def error(self, kind: str, request: str = "", **options: Any) -> grpc.aio.AioRpcError:
        """Make a call that must fail, and return its error."""
        options.setdefault("timeout", TIMEOUT_SECONDS)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(kind, request, **options)
        return caught.value


class Serve(Protocol):
    def __call__(
        self,
        handlers: Handlers,
        *,
        services: Iterable[Service] = ...,
        reflection: bool = ...,
        write_timeout: timedelta | None = ...,
        access: CallAccess | None = ...,
        limits: CallLimits | None = ...,
        options: Mapping[str, int] | None = ...,
        meter: CallMeter | None = ...,
    ) -> AbstractAsyncContextManager[Running]: ...


@asynccontextmanager
async def _serve(
    handlers: Handlers,
    *,
    services: Iterable[Service] = (),
    reflection: bool = True,
    write_timeout: timedelta | None = None,
    access: CallAccess | None = None,
    limits: CallLimits | None = None,
    options: Mapping[str, int] | None = None,
    meter: CallMeter | None = None,
) -> AsyncIterator[Running]:
    drain = Drain()
    server = build_server(
        (Service(name=SERVICE, register=handlers.register), *services),
        listen_address=ListenAddress("127.0.0.1:0"),
        drain=drain,
        reflection=reflection,
        write_timeout=write_timeout,
        access=access,
        limits=limits,
        options=options,
        meter=meter,
    )
    port = await server.start()
    await server.set_serving(True)
    async with open_channel(f"127.0.0.1:{port}") as channel:
        try:
            yield Running(server=server, drain=drain, port=port, channel=channel)
        finally:
            await server.stop(timedelta())


@pytest.fixture
def serve() -> Serve:
    return _serve


class LogLines:
    """The log lines, as on stderr."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    async def call(self) -> dict[str, Any]:
        """Return the access log line of the only call; it is written just after the client has its response."""
        await until(self._calls)
        await let_tasks_run()
        (line,) = self._calls()
        return line

    def _calls(self) -> list[dict[str, Any]]:
        return [line for line in self.all if line["logger"] == "catalogsync_common.access_log"]


@pytest.fixture
def logged() -> Iterator[LogLines]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("probe"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel("INFO")
    try:
        yield LogLines(stream)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
