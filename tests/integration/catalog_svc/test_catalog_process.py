"""catalog_svc as an operator runs it: settings, migration, start and stop of the process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from catalogsync_common.channel import open_channel
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.conftest import CATALOG, ROOT, free_port
from tests.pgbouncer import is_pooled
from tests.waiting import TIMEOUT_SECONDS, within_timeout


@asynccontextmanager
async def catalog(*arguments: str, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `python -m catalog_svc`; it is killed when the context ends."""
    if is_pooled(settings.get("DATABASE_URL", "postgresql://")):
        settings.setdefault("DATABASE_POOLED", "1")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CATALOG_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "catalog_svc",
        *arguments,
        cwd=ROOT,
        env={**kept, "LOG_FORMAT": "json", **{f"CATALOG_{name}": value for name, value in settings.items()}},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """Return the exit code and everything that the process wrote to stderr."""
    _, err = await within_timeout(process.communicate())
    assert process.returncode is not None
    return process.returncode, err.decode()


async def logged(process: asyncio.subprocess.Process, message: str) -> dict[str, Any]:
    """Return the first log line with that message."""
    assert process.stderr is not None
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while line := await process.stderr.readline():
            record: dict[str, Any] = json.loads(line)
            if message in record["message"]:
                return record
    raise AssertionError(f"ended without {message!r}")


async def test_an_unmigrated_database_is_refused_until_the_migrate_command_was_run(
    empty_database_url: str,
) -> None:
    async with catalog(DATABASE_URL=empty_database_url, LISTEN_ADDRESS="127.0.0.1:0") as refused:
        code, err = await ended(refused)
    assert (code, "python -m catalog_svc migrate" in err) == (2, True)

    for _ in range(2):
        async with catalog("migrate", DATABASE_URL=empty_database_url) as migrating:
            code, err = await ended(migrating)
        assert code == 0, err

    async with catalog(DATABASE_URL=empty_database_url, LISTEN_ADDRESS="127.0.0.1:0") as serving:
        port = (await logged(serving, "listening on port"))["port"]
        await logged(serving, "database ready")
        async with open_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for service in ("", CATALOG):
                answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_SECONDS)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
        serving.send_signal(signal.SIGTERM)
        code, err = await ended(serving)
    assert code == 0, err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"LISTEN_ADDRESS": "nowhere"}, "CATALOG_LISTEN_ADDRESS: expected host:port"),
        ({"LEASE_TTL": "soon"}, "CATALOG_LEASE_TTL: expected a duration"),
        ({"MAX_RUNNING_SYNCS": "-1"}, "CATALOG_MAX_RUNNING_SYNCS:"),
    ],
)
async def test_a_wrong_setting_is_reported_in_one_line_that_names_it(
    settings: dict[str, str], message: str
) -> None:
    async with catalog(**settings) as process:
        code, err = await ended(process)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(message)


async def test_other_machines_may_call_only_when_allow_insecure_is_set(database_url: str) -> None:
    async with catalog(DATABASE_URL=database_url, LISTEN_ADDRESS="0.0.0.0:0") as process:
        code, err = await ended(process)
    assert (code, "CATALOG_ALLOW_INSECURE=1" in err) == (2, True)
    async with catalog(DATABASE_URL=database_url, LISTEN_ADDRESS="0.0.0.0:0", ALLOW_INSECURE="1") as process:
        await logged(process, "without authentication")


async def test_a_port_in_use_is_reported_with_its_address(database_url: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with catalog(DATABASE_URL=database_url, LISTEN_ADDRESS=address) as first:
        await logged(first, "listening on port")
        async with catalog(DATABASE_URL=database_url, LISTEN_ADDRESS=address) as second:
            code, err = await ended(second)
    assert (code, f"Cannot listen on {address}" in err) == (1, True)


async def test_an_unavailable_database_is_waited_for_and_then_reported_without_its_password() -> None:
    url = f"postgresql://user:hunter2secret@127.0.0.1:{free_port()}/catalog"
    async with catalog(DATABASE_URL=url, DATABASE_STARTUP_TIMEOUT="2s", LISTEN_ADDRESS="127.0.0.1:0") as process:
        code, err = await ended(process)
    assert code == 2
    assert "the database is not ready yet" in err
    last = err.splitlines()[-1]
    assert last.startswith("CATALOG_DATABASE_URL: the database was not ready within 2 s: cannot connect: ")
    assert "Connect call failed" in last
    assert "hunter2secret" not in err


async def test_a_misspelled_setting_is_reported_at_the_start(database_url: str) -> None:
    async with catalog(
        DATABASE_URL=database_url, LISTEN_ADDRESS="127.0.0.1:0", LEASE_TLL="5s", ADDRESS="127.0.0.1:50051"
    ) as process:
        record = await logged(process, "CATALOG_LEASE_TLL")
        await logged(process, "listening on port")
    assert record["message"].endswith("did you mean CATALOG_LEASE_TTL?")
