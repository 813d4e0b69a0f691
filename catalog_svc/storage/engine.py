"""How we connect to PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

from catalogsync_common.settings import SettingsError
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

STATEMENT_TIMEOUT: Final = timedelta(seconds=30)
"""Of any statement that nobody bounds more tightly."""

_TRACKED: Final = {"application_name": "catalog_svc", "timezone": "UTC"}
"""Settings that a pooler applies to whatever server connection a transaction gets."""
_SESSION: Final = {
    **_TRACKED,
    "statement_timeout": f"{STATEMENT_TIMEOUT.total_seconds():.0f}s",
    "lock_timeout": "10s",
    "client_connection_check_interval": "5s",
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # A cached generic plan of a join with a staging table turns into a nested loop, 60 times slower.
    "plan_cache_mode": "force_custom_plan",
}

_POOLED: Final[Mapping[str, Any]] = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: "",
}
"""A statement prepared by name stays on one server connection, and the next transaction gets another one."""

_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_DSN_OPTIONS: Final = frozenset(
    {
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
        "sslpassword",
        "sslcrl",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "target_session_attrs",
    }
)
"""Options of a URL that asyncpg understands as libpq does, in its own DSN."""
_NATIVE_OPTIONS: Final = frozenset({"host", "port", "passfile"})
"""Options that SQLAlchemy hands over as they are."""
_URL_OPTIONS: Final = _DSN_OPTIONS | _NATIVE_OPTIONS | {"application_name", "connect_timeout", "options"}


def open_engine(
    database_url: str,
    *,
    pool_size: int = 10,
    max_overflow: int | None = None,
    command_timeout: float | None = 35,
    most_idle: timedelta = timedelta(seconds=10),
    pooled: bool = False,
) -> AsyncEngine:
    """Return an engine for `database_url`, a libpq URL such as "postgresql://user@host/name?sslmode=require".

    Nothing is connected yet. The pool keeps `pool_size` connections and opens `max_overflow` more under load, as
    many again when that is None. `command_timeout`, in seconds, is our own: of a connection whose other end has
    vanished the server's time-outs tell nothing. It is above the server's, so that the server's error comes first.
    None: for migrations. `most_idle` bounds the silence within a transaction: a process frozen in one must not
    hold its row locks for ever, since whoever takes over waits for them. `pooled`: a pooler in transaction mode,
    such as PgBouncer, is in between. Then no statement is prepared by name, and the session sets no time-outs: the
    role must have them.

    Raises:
        SettingsError: The URL is malformed, or has an option that is not known.
    """
    url = _parsed(database_url)
    session = dict(_TRACKED if pooled else _SESSION)
    if not pooled:
        session["idle_in_transaction_session_timeout"] = f"{max(1, round(most_idle.total_seconds() * 1000))}ms"
    # No pool_pre_ping: it costs three round trips before each transaction, and `Database` tries one again whose
    # connection turns out to be gone; the first such error has the pool replace all of its connections.
    return create_async_engine(
        url.set(
            drivername="postgresql+asyncpg", query={k: v for k, v in url.query.items() if k in _NATIVE_OPTIONS}
        ),
        pool_size=pool_size,
        max_overflow=pool_size if max_overflow is None else max_overflow,
        pool_timeout=10,
        pool_recycle=1800,
        # The fence, the claims and the counts are written for it; a role or a database may have another default.
        isolation_level="READ COMMITTED",
        hide_parameters=True,
        connect_args=_connect_arguments(url.query, session, command_timeout) | dict(_POOLED if pooled else {}),
    )


def connection_replacer(engine: AsyncEngine) -> Callable[[], None]:
    """Return a function that has the pool replace each connection that it holds now when it is next checked out.

    `AsyncEngine.dispose` would lose track of those in use: they come back to a pool that nobody closes.
    """
    key = object()
    generation = 0

    def connected(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info[key] = generation

    def checked_out(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        if record.info.get(key, 0) != generation:
            raise DisconnectionError("the connection is to be replaced")

    def replace_all() -> None:
        nonlocal generation
        generation += 1

    event.listen(engine.sync_engine, "connect", connected)
    event.listen(engine.sync_engine, "checkout", checked_out)
    return replace_all


def _connect_arguments(
    options: Mapping[str, Any], session: dict[str, str], command_timeout: float | None
) -> dict[str, Any]:
    for name in ("application_name", "options"):
        if name in options:
            session[name] = options[name]
    arguments: dict[str, Any] = {
        "server_settings": session,
        "timeout": float(options.get("connect_timeout", 10)),
        "command_timeout": command_timeout,
    }
    dsn = {name: value for name, value in options.items() if name in _DSN_OPTIONS}
    if dsn:
        # Only for these options: host, user and the rest are given apart, and win.
        arguments["dsn"] = f"postgresql://?{urlencode(dsn)}"
    return arguments


def _parsed(database_url: str) -> URL:
    """The URL, checked. No message quotes it, for it holds a password."""
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):
        raise _wrong("expected postgresql://user:password@host:port/name") from None
    if url.drivername.partition("+")[0] not in ("postgresql", "postgres"):
        raise _wrong("expected a URL that begins with postgresql://")
    for name, value in url.query.items():
        if name not in _URL_OPTIONS:
            raise _wrong(f"has the unknown option {name!r}; known are {', '.join(sorted(_URL_OPTIONS))}")
        if name == "sslmode" and value not in _SSL_MODES:
            raise _wrong(f"sslmode must be one of {', '.join(_SSL_MODES)}")
        if name == "connect_timeout" and not str(value).isdecimal():
            raise _wrong("connect_timeout must be a number of seconds")
    return url


def _wrong(what: str) -> SettingsError:
    return SettingsError((f"CATALOG_DATABASE_URL: {what}",))
