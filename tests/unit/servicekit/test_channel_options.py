"""gRPC ignores an option that it does not know, without a word."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from servicekit import channel, server


@pytest.mark.parametrize("name", [name for name, _ in (*server._OPTIONS, *channel._OPTIONS)])
def test_every_option_that_we_set_is_known_to_grpc(name: str) -> None:
    """Clients were sent away for their pings: our minimum had another name than the one that gRPC reads."""
    library = importlib.import_module("grpc._cython.cygrpc").__file__
    assert library is not None
    assert name.encode() + b"\0" in Path(library).read_bytes()
