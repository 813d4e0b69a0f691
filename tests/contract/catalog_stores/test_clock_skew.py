"""Replicas whose clocks differ: the clock of a replica must never decide which sync is newer."""

from __future__ import annotations

import time

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.errors import SyncNotResumable
from catalog_svc.domain.sync import SyncState
from tests.contract.catalog_stores.conftest import PostgresStores
from tests.contract.catalog_stores.steps import REVOKED, failed_sync, started_sync
from tests.fakes.product_source import product

_TWO_SECONDS_NS = 2_000_000_000


async def test_a_pass_superseded_by_a_replica_whose_clock_is_behind_is_not_resumed(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seen ids of the pass are gone: its sweep would delete live products."""
    replica = PostgresStores(engine).replica()
    parent = await failed_sync(replica, product("1"))
    set_clock_back(monkeypatch)
    later = await started_sync(replica)
    await replica.leases.end(later.lease, SyncState.FAILED, REVOKED)
    with pytest.raises(SyncNotResumable):
        await replica.commands.resume(parent.sync_id, request_id="", correlation_id="")


async def test_the_latest_sync_is_the_one_that_ended_last_whatever_the_clocks_of_the_replicas_say(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a success on a replica whose clock is behind would leave the shop broken on its dashboard."""
    replica = PostgresStores(engine).replica()
    failed = await failed_sync(replica, product("1"))
    set_clock_back(monkeypatch)
    later = await started_sync(replica)
    succeeded = await replica.leases.end(later.lease, SyncState.SUCCEEDED)
    latest = await replica.syncs.latest(failed.shop)
    assert latest.last_finished is not None
    assert latest.last_finished.sync_id == succeeded.sync_id > failed.sync_id
    page = await replica.syncs.page(shop=failed.shop, states=(), before=None, limit=10)
    assert [sync.sync_id for sync in page] == [succeeded.sync_id, failed.sync_id]


def set_clock_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() - _TWO_SECONDS_NS)
