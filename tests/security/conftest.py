from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.security.connect_log import ConnectAudit
from tests.security.hostile_network import HostileNetwork, hostile_network


@pytest.fixture(scope="session")
def connect_audit() -> ConnectAudit:
    """Return the recorder of this process."""
    return ConnectAudit()


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[HostileNetwork]:
    """Yield a network of this test's own."""
    async with hostile_network(tmp_path) as running:
        yield running
