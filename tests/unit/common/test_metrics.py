"""Metrics: the HTTP endpoint and the metrics of calls."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import grpc
import pytest
from catalogsync_common.metrics import CallMetrics, new_registry, serve_metrics
from catalogsync_common.server import ListenError
from catalogsync_common.settings import ListenAddress
from grpc_health.v1 import health_pb2
from prometheus_client import CollectorRegistry, Counter

from tests.waiting import TIMEOUT_SECONDS


def read(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_SECONDS) as reply:
        text: str = reply.read().decode()
        return text


async def test_metrics_are_served_until_the_block_ends() -> None:
    registry = new_registry()
    Counter("things", "Things.", registry=registry).inc(3)
    async with serve_metrics(registry, ListenAddress("127.0.0.1:0")) as port:
        assert port
        assert "things_total 3.0" in read(port)
    with pytest.raises(urllib.error.URLError):
        read(port)


async def test_without_an_address_metrics_are_not_served() -> None:
    async with serve_metrics(new_registry(), None) as port:
        assert port is None


async def test_an_address_in_use_raises_a_listen_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = ListenAddress(f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ListenError, match=f"Cannot serve metrics on {address}"):
            async with serve_metrics(new_registry(), address):
                pass


def test_two_registries_share_no_metrics() -> None:
    first, second = new_registry(), new_registry()
    CallMetrics(first).call_started("/x")
    CallMetrics(second)
    assert first.get_sample_value("grpc_server_calls_running", {"grpc_method": "x"}) == 1
    assert second.get_sample_value("grpc_server_calls_running", {"grpc_method": "x"}) is None


def test_a_call_is_running_until_it_ends_and_then_counted_by_its_code() -> None:
    registry = CollectorRegistry()
    calls = CallMetrics(registry)
    calls.call_started("/x")
    calls.call_ended("/x", grpc.StatusCode.NOT_FOUND, 0.02)
    labels = {"grpc_method": "x", "grpc_status": "NOT_FOUND"}
    assert registry.get_sample_value("grpc_server_calls_running", {"grpc_method": "x"}) == 0
    assert registry.get_sample_value("grpc_server_call_started_total", {"grpc_method": "x"}) == 1
    assert registry.get_sample_value("grpc_server_call_duration_seconds_count", labels) == 1
    assert registry.get_sample_value("grpc_server_call_duration_seconds_bucket", {**labels, "le": "0.01"}) == 0
    assert registry.get_sample_value("grpc_server_call_duration_seconds_bucket", {**labels, "le": "0.025"}) == 1


def test_a_stream_has_a_gauge_and_a_count_and_is_in_no_histogram_of_durations() -> None:
    registry = CollectorRegistry()
    calls = CallMetrics(registry)
    method = {"grpc_method": "grpc.health.v1.Health/Watch"}
    calls.call_started("/grpc.health.v1.Health/Watch")
    assert registry.get_sample_value("grpc_server_streams_open", method) == 1
    assert registry.get_sample_value("grpc_server_calls_running", method) is None
    calls.call_ended("/grpc.health.v1.Health/Watch", grpc.StatusCode.CANCELLED, 900)
    assert registry.get_sample_value("grpc_server_streams_open", method) == 0
    ended = {**method, "grpc_status": "CANCELLED"}
    assert registry.get_sample_value("grpc_server_streams_ended_total", ended) == 1
    assert registry.get_sample_value("grpc_server_call_duration_seconds_count", ended) is None


def test_the_first_unexpected_error_of_a_method_is_an_increase() -> None:
    registry = CollectorRegistry()
    calls = CallMetrics(registry, (health_pb2.DESCRIPTOR.services_by_name["Health"],))
    method = {"grpc_method": "grpc.health.v1.Health/Check"}
    assert registry.get_sample_value("grpc_server_unexpected_errors_total", method) == 0
    for code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE):
        calls.call_started("/grpc.health.v1.Health/Check")
        calls.call_ended("/grpc.health.v1.Health/Check", code, 0.02)
    assert registry.get_sample_value("grpc_server_unexpected_errors_total", method) == 1
