"""What errors of PostgreSQL, its driver and the network mean: transient or not, and why.

| Cause | SQLSTATE | Example |
|---|---|---|
| UNREACHABLE | 08*, 57P*, 25P03 | connection lost, server restarting, idle transaction ended |
| REFUSED | 28*, 3D000 | wrong password, no such database |
| READ_ONLY | 25006 | standby, failover |
| NO_RESOURCES | 53*, 58* | disk full, out of memory, too many connections, I/O error |
| LOCKED | 55P03 | lock timeout |
| CONFLICT | 40* | deadlock, serialization failure |
| TOO_SLOW | 57014, 25P04 | statement timeout, transaction timeout |

Everything else (22* and 23* bad data, 42* wrong statement or missing permission, XX* internal) is not transient:
the same statement fails again until somebody repairs what is wrong. See
https://www.postgresql.org/docs/current/errcodes-appendix.html.
"""

from __future__ import annotations

from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from catalog_svc.domain.errors import StorageCause

DATABASE_ERRORS: Final = (
    DBAPIError,
    PoolTimeout,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.TargetServerAttributeNotMatched,
    OSError,
    TimeoutError,
)
"""What a transaction may raise because of the database. asyncpg's own errors come from COPY and from connecting,
which SQLAlchemy does not wrap."""

_CAUSES: Final = {
    "3D000": StorageCause.REFUSED,
    "25006": StorageCause.READ_ONLY,
    "25P03": StorageCause.UNREACHABLE,
    "25P04": StorageCause.TOO_SLOW,
    "55P03": StorageCause.LOCKED,
    "57014": StorageCause.TOO_SLOW,
}
_CAUSES_BY_CLASS: Final = {
    "08": StorageCause.UNREACHABLE,
    "28": StorageCause.REFUSED,
    "40": StorageCause.CONFLICT,
    "53": StorageCause.NO_RESOURCES,
    "57": StorageCause.UNREACHABLE,
    "58": StorageCause.NO_RESOURCES,
}
_PERMANENT_KINDS: Final = {"22": "bad data", "23": "bad data", "42": "statement or permission"}
_MAX_DETAIL_CHARACTERS: Final = 300


def cause_of(error: BaseException) -> StorageCause | None:
    """Classify an error of `DATABASE_ERRORS`; None when it is not transient."""
    if isinstance(error, PoolTimeout):
        return StorageCause.POOL_EXHAUSTED
    driver = _driver_error(error)
    if isinstance(driver, asyncpg.ClientConfigurationError):
        return StorageCause.REFUSED
    if isinstance(driver, asyncpg.TargetServerAttributeNotMatched):
        return StorageCause.READ_ONLY
    state = sqlstate_of(error)
    cause = _CAUSES.get(state) or _CAUSES_BY_CLASS.get(state[:2])
    if cause is not None:
        return cause
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return StorageCause.UNREACHABLE
    # Without an answer of the server: the connection broke, or our own time limit of a command was reached.
    if isinstance(driver, (OSError, TimeoutError)):
        return StorageCause.UNREACHABLE
    is_interface_error = isinstance(error, InterfaceError) or isinstance(driver, asyncpg.InterfaceError)
    # A ValueError among them is a value that PostgreSQL's type cannot hold.
    return (
        StorageCause.UNREACHABLE
        if is_interface_error and not state and not isinstance(driver, ValueError)
        else None
    )


def sqlstate_of(error: BaseException) -> str:
    """Return the server's SQLSTATE; empty when the server did not answer."""
    for one in (_driver_error(error), getattr(error, "orig", None)):
        state = getattr(one, "sqlstate", None) or getattr(one, "pgcode", None)
        if state:
            return str(state)
    return ""


def describe(error: BaseException) -> dict[str, object]:
    """Return what a log line tells of an error: kind, SQLSTATE, class, and the first line of the driver's message.

    No statement and no parameters: they may hold a merchant's data.
    """
    cause, state = cause_of(error), sqlstate_of(error)
    kind = cause.value if cause else _PERMANENT_KINDS.get(state[:2], "unexpected")
    return {
        "kind": kind,
        "sqlstate": state,
        "error": type(_driver_error(error)).__name__,
        "detail": detail_of(error),
    }


def detail_of(error: BaseException) -> str:
    """Return the first line of the driver's message, for operators; the driver puts no password in it."""
    driver = _driver_error(error)
    lines = str(driver).strip().splitlines()
    return lines[0][:_MAX_DETAIL_CHARACTERS] if lines else type(driver).__name__


def _driver_error(error: BaseException) -> BaseException:
    """The error below SQLAlchemy's wrapper and its adapter's."""
    original = getattr(error, "orig", None)
    if not isinstance(original, BaseException):
        return error
    return original.__cause__ or original
