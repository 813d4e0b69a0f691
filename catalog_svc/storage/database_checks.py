"""Checks of the database for `python -m catalog_svc doctor`: each names what is wrong in one sentence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Final

from catalogsync_common.diagnosis import Finding, Findings
from catalogsync_common.settings import SettingsError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from catalog_svc.domain.errors import StorageCause
from catalog_svc.storage.database import DATABASE_ERRORS, cause_of, detail_of, sqlstate_of
from catalog_svc.storage.engine import DATABASE_URL
from catalog_svc.storage.pooler import UNSUPPORTED_PARAMETER, PoolerFound, check_pooler
from catalog_svc.storage.roles import isolation_problem, missing_rights
from catalog_svc.storage.schema import check_schema, schema_version

_CONNECT_SECONDS: Final = 10.0
_LISTED_RIGHTS: Final = 3
_SELECT_SERVER = text("""
    SELECT clock_timestamp() AS time, current_user AS role, current_setting('server_version') AS version,
        pg_is_in_recovery() OR CAST(current_setting('transaction_read_only') AS boolean) AS read_only""")

_WHAT_TO_DO: Final = {
    StorageCause.UNREACHABLE: (
        "start PostgreSQL, or correct host and port of the URL, or open the port in the firewalls on the way"
    ),
    StorageCause.REFUSED: "correct user, password or database name of the URL, or pg_hba.conf of the server",
    StorageCause.NO_RESOURCES: "raise max_connections of the server, or lower CATALOG_DATABASE_POOL_SIZE",
    StorageCause.READ_ONLY: "name the primary in the URL",
}
"""By cause; other errors are explained by their own text."""


async def check_database(
    findings: Findings,
    engine: AsyncEngine,
    *,
    address: str,
    pooled: bool,
    production: bool,
    clock: Callable[[], datetime],
) -> AsyncIterator[Finding]:
    """Yield a finding for connection, clock, rights, schema and isolation; stop where the next needs the last.

    Args:
        findings: Makes the findings.
        engine: Connections of the service's role.
        address: Of the database, for messages; without a password.
        pooled: Whether the settings say that a pooler is in between.
        production: Whether row-level security must bind the role.
        clock: The clock of this machine.
    """
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            connected = await _check_connection(findings, engine, address, clock)
    except DATABASE_ERRORS as error:
        yield findings.failed("database connection", _problem(error, address))
        return
    for finding in connected:
        yield finding
    try:
        await check_pooler(engine, pooled=pooled)
        finding = await _check_rights(findings, engine)
        yield finding
        await check_schema(engine)
        yield findings.ok("database schema", f"is at {await schema_version(engine)}, on which this release runs")
    except SettingsError as error:
        yield findings.failed(
            "database connection" if isinstance(error, PoolerFound) else "database schema", "; ".join(error.lines)
        )
        return
    except DATABASE_ERRORS as error:
        yield findings.failed("database schema", f"cannot be read ({detail_of(error)}): {_GRANT}")
        return
    yield await _check_isolation(findings, engine, production=production)


_GRANT: Final = (
    "run `python -m catalog_svc migrate` as the owner of the tables, with this role in CATALOG_SERVICE_ROLE"
)


async def _check_connection(
    findings: Findings, engine: AsyncEngine, address: str, clock: Callable[[], datetime]
) -> list[Finding]:
    async with engine.connect() as connection:
        began = clock()
        server = (await connection.execute(_SELECT_SERVER)).one()
        took = clock() - began
    connected = f"PostgreSQL {server.version.split()[0]} at {address} accepts the role {server.role!r}"
    check = "database connection"
    return [
        findings.warning(
            check, f"{connected}, but is read-only: reads work, syncs wait; name the primary in {DATABASE_URL}"
        )
        if server.read_only
        else findings.ok(check, connected),
        findings.clock("database clock", "PostgreSQL", began + took / 2 - server.time, uncertainty=took),
    ]


def _problem(error: BaseException, address: str) -> str:
    detail = detail_of(error)
    if UNSUPPORTED_PARAMETER in detail:
        return "; ".join(PoolerFound().lines)
    cause = cause_of(error)
    advice = _WHAT_TO_DO.get(cause) if cause else None
    if isinstance(error, TimeoutError) or not detail:
        detail = f"no answer within {_CONNECT_SECONDS:.0f} s"
    state = f" [{sqlstate_of(error)}]" if sqlstate_of(error) else ""
    return f"{DATABASE_URL}: cannot connect to {address} ({detail}{state}): {advice or 'correct the URL'}"


async def _check_rights(findings: Findings, engine: AsyncEngine) -> Finding:
    missing = await missing_rights(engine)
    if not missing:
        return findings.ok("database rights", "the role has the rights that the service needs")
    listed = ", ".join(missing[:_LISTED_RIGHTS])
    more = f" and {len(missing) - _LISTED_RIGHTS:,} more rights" if len(missing) > _LISTED_RIGHTS else ""
    return findings.failed("database rights", f"the role of {DATABASE_URL} lacks {listed}{more}: {_GRANT}")


async def _check_isolation(findings: Findings, engine: AsyncEngine, *, production: bool) -> Finding:
    check = "database isolation"
    problem = await isolation_problem(engine)
    if problem is None:
        return findings.ok(check, "row-level security binds the role")
    return (findings.failed if production else findings.warning)(check, problem)
