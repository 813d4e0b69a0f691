"""The probe command of the image: its exit code says whether a process takes calls, and why it cannot be asked."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path

import pytest
from catalogsync_bff.health import check_ready
from catalogsync_bff.settings import BffSettings
from catalogsync_common.drain import Drain
from catalogsync_common.health_probe import check_grpc_health, probe_target, run_probe
from catalogsync_common.process import EXIT_FAILED, EXIT_OK, EXIT_SETTINGS
from catalogsync_common.server import Service, build_server
from catalogsync_common.settings import ListenAddress, ServiceSettings
from pydantic_settings import SettingsConfigDict

from tests.e2e.conftest import free_port
from tests.integration.common.conftest import SERVICE, Handlers


class ProbedSettings(ServiceSettings):
    """Settings of a service."""

    model_config = SettingsConfigDict(env_prefix="PROBED_", env_file=None)


async def probe() -> int:
    return await asyncio.to_thread(run_probe, ProbedSettings, check_grpc_health)


async def test_the_exit_code_follows_the_health_of_the_service(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    monkeypatch.setenv("PROBED_LISTEN_ADDRESS", f"0.0.0.0:{port}")
    assert await probe() == EXIT_FAILED
    server = build_server(
        (Service(name=SERVICE, register=Handlers().register),),
        listen_address=ListenAddress(f"127.0.0.1:{port}"),
        drain=Drain(),
    )
    await server.start()
    try:
        assert await probe() == EXIT_FAILED
        await server.set_serving(True)
        assert await probe() == EXIT_OK
    finally:
        await server.stop(timedelta())
    output = capsys.readouterr()
    assert output.out == "SERVING\n"
    assert output.err == f"127.0.0.1:{port} does not answer: UNAVAILABLE\nNOT_SERVING\n"


async def test_the_health_port_is_asked_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The main port may require a client certificate."""
    port = free_port()
    monkeypatch.setenv("PROBED_LISTEN_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("PROBED_HEALTH_ADDRESS", f"[::]:{port}")
    server = build_server(
        (Service(name=SERVICE, register=Handlers().register),),
        listen_address=ListenAddress("127.0.0.1:0"),
        health_address=ListenAddress(f"[::]:{port}"),
        drain=Drain(),
    )
    await server.start()
    await server.set_serving(True)
    try:
        assert await probe() == EXIT_OK
    finally:
        await server.stop(timedelta())


async def test_a_service_with_tls_alone_cannot_be_probed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PROBED_TLS_CERT_FILE", str(tmp_path / "tls.crt"))
    assert await probe() == EXIT_SETTINGS
    assert "PROBED_HEALTH_ADDRESS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("listening", "probed"),
    [
        ("0.0.0.0:50061", "127.0.0.1:50061"),
        ("[::]:50061", "[::1]:50061"),
        ("10.1.2.3:50061", "10.1.2.3:50061"),
        ("[2001:db8::1]:50061", "[2001:db8::1]:50061"),
    ],
)
def test_a_server_on_all_addresses_is_probed_on_loopback(listening: str, probed: str) -> None:
    assert probe_target(ListenAddress(listening)) == probed
    # The form that http.client reads, too.
    assert HTTPConnection(probed).port == 50061


@pytest.mark.parametrize(
    ("status", "code"), [("200 OK", EXIT_OK), ("503 Service Unavailable", EXIT_FAILED), ("", EXIT_FAILED)]
)
async def test_the_bff_is_probed_by_its_readiness(monkeypatch: pytest.MonkeyPatch, status: str, code: int) -> None:
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        if status:
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        monkeypatch.setenv("BFF_LISTEN_ADDRESS", f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert await asyncio.to_thread(run_probe, BffSettings, check_ready) == code
    assert asked == [b"GET /readyz HTTP/1.1\r\n"]
