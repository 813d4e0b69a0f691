"""Probes reach health without TLS on a port of its own, which serves nothing else and outlives the drain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from catalogsync_common.channel import open_channel
from catalogsync_common.client_tls import ClientTls
from catalogsync_common.drain import Drain
from catalogsync_common.server import LIVENESS, GrpcServer, ListenError, Service, build_server
from catalogsync_common.server_tls import ServerTls
from catalogsync_common.settings import ListenAddress
from catalogsync_common.tls_files import TlsFilePaths, TlsFiles
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc

from tests.integration.common.conftest import SERVICE, Handlers
from tests.tls import Authority
from tests.waiting import TIMEOUT_SECONDS, until, within_timeout

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """A server with mTLS, a plaintext channel to its health port, and a channel of an allowed client."""

    server: GrpcServer
    drain: Drain
    probe: grpc.aio.Channel
    client: grpc.aio.Channel

    async def check(self, service: str = "") -> Any:
        stub = health_pb2_grpc.HealthStub(self.probe)
        return (await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_SECONDS)).status


@asynccontextmanager
async def serving(directory: Path, handlers: Handlers) -> AsyncIterator[Probed]:
    authority = Authority(directory)
    issued, own = authority.issue("server"), authority.issue("client", dns=("catalog.internal",))
    paths = TlsFilePaths(certificate=issued.certificate, key=issued.key, ca=authority.file)
    tls = ServerTls(
        files=TlsFiles("server", paths), require_client_certificate=True, allowed_names=("catalog.internal",)
    )
    drain = Drain()
    server = build_server(
        (Service(name=SERVICE, register=handlers.register),),
        listen_address=ListenAddress("127.0.0.1:0"),
        health_address=ListenAddress("127.0.0.1:0"),
        drain=drain,
        tls=tls,
    )
    port = await server.start()
    await server.set_serving(True)
    client_tls = ClientTls.read(ca_file=authority.file, certificate_file=own.certificate, key_file=own.key)
    async with (
        open_channel(f"127.0.0.1:{server.health_port}") as probe,
        open_channel(f"127.0.0.1:{port}", tls=client_tls) as client,
    ):
        try:
            yield Probed(server=server, drain=drain, probe=probe, client=client)
        finally:
            await server.stop(timedelta())


async def test_probes_see_the_health_of_the_server_and_its_services(tmp_path: Path) -> None:
    async with serving(tmp_path, Handlers()) as probed:
        assert [await probed.check(name) for name in ("", SERVICE, LIVENESS)] == [SERVING] * 3
        listed = await health_pb2_grpc.HealthStub(probed.probe).List(health_pb2.HealthListRequest())
        assert set(listed.statuses) == {"", SERVICE, LIVENESS}
        watch = health_pb2_grpc.HealthStub(probed.probe).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        await probed.server.set_serving(False)
        assert (await watch.read()).status == NOT_SERVING
        assert await probed.check() == NOT_SERVING


async def test_the_main_port_keeps_health(tmp_path: Path) -> None:
    async with serving(tmp_path, Handlers()) as probed:
        stub = health_pb2_grpc.HealthStub(probed.client)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING


async def test_the_health_port_serves_nothing_else(tmp_path: Path) -> None:
    async def echo(request: StringValue, context: Any) -> StringValue:
        return request

    async with serving(tmp_path, Handlers(unary_unary=echo)) as probed:
        call: Any = probed.probe.unary_unary(f"/{SERVICE}/unary_unary")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", timeout=TIMEOUT_SECONDS)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(probed.probe).ServerReflectionInfo
        assert await within_timeout(reflection().code()) is grpc.StatusCode.UNIMPLEMENTED


async def test_probes_are_answered_not_serving_until_the_last_call_has_ended(tmp_path: Path) -> None:
    entered, finish = asyncio.Event(), asyncio.Event()

    async def slow(request: StringValue, context: Any) -> StringValue:
        entered.set()
        await finish.wait()
        return request

    async with serving(tmp_path, Handlers(unary_unary=slow)) as probed:
        call: Any = probed.client.unary_unary(f"/{SERVICE}/unary_unary")
        running = asyncio.ensure_future(call(b"", timeout=TIMEOUT_SECONDS))
        await entered.wait()
        stopping = asyncio.create_task(probed.server.stop(timedelta(seconds=TIMEOUT_SECONDS)))
        await until(lambda: probed.drain.started)
        assert await probed.check() == NOT_SERVING
        assert await probed.check(LIVENESS) == NOT_SERVING
        finish.set()
        await within_timeout(running)
        await within_timeout(stopping)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await probed.check()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_health_port_in_use_is_reported_with_its_address(tmp_path: Path) -> None:
    async with serving(tmp_path, Handlers()) as probed:
        address = ListenAddress(f"127.0.0.1:{probed.server.health_port}")
        server = build_server(
            (), listen_address=ListenAddress("127.0.0.1:0"), health_address=address, drain=Drain()
        )
        with pytest.raises(ListenError, match=str(address)):
            await server.start()
