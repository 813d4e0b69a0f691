"""Health follows the database, not the load on it, and not a single slow ping."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest
from catalogsync_common.drain import Drain
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.storage.readiness import Readiness, watch_readiness
from tests.conftest import execute, open_test_engine
from tests.integration.catalog_svc.conftest import until
from tests.pgbouncer import is_pooled

_PING_INTERVAL = timedelta(milliseconds=50)


def test_three_failures_in_a_row_make_unready_and_one_success_makes_ready() -> None:
    readiness = Readiness()
    observed = [readiness.observe(ok) for ok in (True, False, False, True, False, False, False, False, True)]
    assert observed == [True, True, True, True, True, True, False, False, True]


def test_nothing_is_ready_before_the_first_success() -> None:
    readiness = Readiness()
    assert not readiness.is_ready
    assert not readiness.observe(False)
    assert readiness.observe(True)


async def test_a_database_outage_and_its_end_are_reported_once_each(
    database_url: str, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = make_url(database_url).database
    reported: list[bool] = []

    async def report(serving: bool) -> None:
        reported.append(serving)

    drain, pings = Drain(), open_test_engine(database_url, pool_size=1, max_overflow=0)
    with caplog.at_level(logging.INFO):
        watching = asyncio.create_task(watch_readiness(pings, report, drain, interval=_PING_INTERVAL))
        await until(lambda: reported == [True])
        await execute(postgres_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await execute(
            postgres_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        await until(lambda: reported == [True, False])
        await execute(postgres_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await until(lambda: reported == [True, False, True])
    drain.start()
    await watching
    await pings.dispose()
    failures = [record for record in caplog.records if record.getMessage() == "database ping failed"]
    assert len(failures) >= 3
    refused = f'database "{name}" is not currently accepting connections'
    expected = "server login has been failing" if is_pooled(database_url) else refused
    assert expected in failures[-1].__dict__["detail"]


async def test_a_read_only_database_is_serving_and_its_end_is_detected(
    engine: AsyncEngine, database_url: str, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = make_url(database_url).database
    reported: list[bool] = []
    reconnected = asyncio.Event()

    async def report(serving: bool) -> None:
        reported.append(serving)

    await execute(postgres_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    drain, pings = Drain(), open_test_engine(database_url, pool_size=1, max_overflow=0)
    with caplog.at_level(logging.INFO):
        watching = asyncio.create_task(
            watch_readiness(pings, report, drain, on_read_only=reconnected.set, interval=_PING_INTERVAL)
        )
        await until(lambda: reported == [True])
        assert any("read-only" in record.getMessage() for record in caplog.records)
        await until(reconnected.is_set)
        await execute(postgres_url, f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await until(lambda: any(record.getMessage() == "database ready" for record in caplog.records))
    drain.start()
    await watching
    await pings.dispose()
    async with engine.connect() as connection:
        assert (await connection.execute(text("SHOW transaction_read_only"))).scalar_one() == "off"
