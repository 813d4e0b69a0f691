"""Options of channels and servers: gRPC silently ignores an unknown option."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from catalogsync_common import channel, server


@pytest.mark.parametrize("name", [name for name, _ in (*server._OPTIONS, *channel._OPTIONS)])
def test_every_option_is_known_to_grpc(name: str) -> None:
    """Once clients were disconnected for their pings, since our minimum had another name than gRPC's."""
    library = importlib.import_module("grpc._cython.cygrpc").__file__
    assert library is not None
    assert name.encode() + b"\0" in Path(library).read_bytes()


def test_clients_may_ping_every_twenty_seconds_with_or_without_a_call() -> None:
    """A client that pings more often than the server allows is disconnected with "too_many_pings"."""
    allowed = dict(server._OPTIONS)
    assert allowed["grpc.http2.min_ping_interval_without_data_ms"] <= 20_000 / 2
    assert allowed["grpc.keepalive_permit_without_calls"] == 1
    client = dict(channel._OPTIONS)
    assert int(client["grpc.keepalive_time_ms"]) >= 20_000
