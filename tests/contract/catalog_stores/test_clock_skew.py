"""Replicas whose clocks differ: the clock of a replica must never decide which sync is newer."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from uuid_utils.compat import uuid7

from catalog_svc.domain.errors import SyncNotResumable
from catalog_svc.domain.sync import SyncState
from tests.contract.catalog_stores.conftest import PostgresStores
from tests.contract.catalog_stores.steps import REVOKED, failed_sync, started_sync
from tests.fakes.product_source import product

_TWO_SECONDS = 2000 << 80
"""In the timestamp of a UUID of version 7, its first 48 bits."""


async def test_a_pass_superseded_by_a_replica_whose_clock_is_behind_is_not_resumed(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seen ids of the pass are gone: its sweep would delete live products."""
    replica = PostgresStores(engine).replica()
    parent = await failed_sync(replica, product("1"))
    monkeypatch.setattr("catalog_svc.storage.sync_commands.uuid7", lambda: UUID(int=uuid7().int - _TWO_SECONDS))
    later = await started_sync(replica)
    await replica.leases.end(later.lease, SyncState.FAILED, REVOKED)
    with pytest.raises(SyncNotResumable):
        await replica.commands.resume(parent.sync_id, request_id="", correlation_id="")
