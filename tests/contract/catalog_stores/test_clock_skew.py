"""Replicas whose clocks differ: no clock of theirs may decide what is newer."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from uuid_utils.compat import uuid7

from catalog_svc.domain.errors import SyncNotResumable
from catalog_svc.domain.sync import SyncState
from tests.contract.catalog_stores.conftest import PostgresStores
from tests.contract.catalog_stores.steps import REVOKED, begun, failed
from tests.fakes.product_source import product

_TWO_SECONDS = 2000 << 80
"""In the time of a uuid v7, its first 48 bits."""


async def test_a_pass_overtaken_by_a_replica_whose_clock_is_behind_is_not_resumed(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later sync has forgotten what the pass had met: its sweep would take live products for gone."""
    replica = PostgresStores(engine).replica()
    parent = await failed(replica, product("1"))
    monkeypatch.setattr("catalog_svc.storage.sync_commands.uuid7", lambda: UUID(int=uuid7().int - _TWO_SECONDS))
    later = await begun(replica)
    await replica.leases.end(later.lease, SyncState.FAILED, REVOKED)
    with pytest.raises(SyncNotResumable):
        await replica.commands.resume(parent.sync_id, request_id="", correlation_id="")
