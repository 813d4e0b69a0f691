"""Connections to PostgreSQL: URL, session settings, pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from catalogsync_common.settings import SettingsError
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from catalog_svc.storage.pooler import POOLER_ARGUMENTS, POOLER_SESSION_SETTINGS, pooled_options

STATEMENT_TIMEOUT: Final = timedelta(seconds=30)
"""Statement timeout of a session. Single transactions set a shorter one."""

DATABASE_URL: Final = "CATALOG_DATABASE_URL"
MIGRATE_DATABASE_URL: Final = "CATALOG_MIGRATE_DATABASE_URL"
"""Names of the settings that hold URLs, for error messages."""

_SESSION_SETTINGS: Final = {
    **POOLER_SESSION_SETTINGS,
    "statement_timeout": f"{STATEMENT_TIMEOUT.total_seconds():.0f}s",
    "lock_timeout": "10s",
    "client_connection_check_interval": "5s",
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # A cached generic plan of a join with a staging table becomes a nested loop, which is 60 times slower.
    "plan_cache_mode": "force_custom_plan",
}

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
"""Options of a URL that asyncpg reads from its own DSN, as libpq does."""
_NATIVE_OPTIONS: Final = frozenset({"host", "port", "passfile"})
"""Options that SQLAlchemy passes on unchanged."""
_URL_OPTIONS: Final = _DSN_OPTIONS | _NATIVE_OPTIONS | {"application_name", "connect_timeout", "options"}


def open_engine(
    database_url: str,
    *,
    pool_size: int = 10,
    max_overflow: int | None = None,
    command_timeout: float | None = 35,
    max_idle_in_transaction: timedelta = timedelta(seconds=10),
    pooled: bool = False,
    setting: str = DATABASE_URL,
) -> AsyncEngine:
    """Return an engine; it connects at the first use.

    Args:
        database_url: A libpq URL such as "postgresql://user@host/name?sslmode=require".
        pool_size: Connections that the pool keeps open.
        max_overflow: Connections that the pool opens in addition under load; None: as many as `pool_size`.
        command_timeout: Seconds after which the driver gives up a command: when the other end of a connection has
            vanished, the server's timeouts do not help. It is above the server's, so that the server's error comes
            first. None: no limit, for migrations.
        max_idle_in_transaction: After this time without a statement the server ends a transaction: a process that
            is frozen within one must not hold its row locks for ever, since the next owner waits for them.
        pooled: Whether a pooler in transaction mode, such as PgBouncer, is in between. Then no statement is
            prepared by name, temporary tables end with their transaction, and the session sets no timeouts: the
            database role must have them.
        setting: Name of the setting that holds the URL, for error messages.

    Raises:
        SettingsError: The URL is malformed, or has an unknown option, or one that a pooler does not support.
    """
    url = _parse_url(database_url, setting)
    if pooled and "options" in url.query:
        raise _url_error(setting, "a connection pooler does not support 'options': use ALTER ROLE ... SET instead")
    session = POOLER_SESSION_SETTINGS if pooled else _session_settings(max_idle_in_transaction)
    native_options = {name: value for name, value in url.query.items() if name in _NATIVE_OPTIONS}
    # No pool_pre_ping: it costs three round trips before each transaction. `Database` retries a transaction whose
    # connection is lost, and the first such error makes the pool replace all of its connections.
    return create_async_engine(
        url.set(drivername="postgresql+asyncpg", query=native_options),
        pool_size=pool_size,
        max_overflow=pool_size if max_overflow is None else max_overflow,
        pool_timeout=10,
        pool_recycle=1800,
        # The fence, the claims and the counts rely on this level; a role or a database may have another default.
        isolation_level="READ COMMITTED",
        hide_parameters=True,
        # JSONB arrives as text, several values in each row of a list: a third of the time of the standard decoder.
        json_deserializer=msgspec.json.decode,
        execution_options=pooled_options(pooled),
        connect_args={
            **_connect_arguments(url.query, session, command_timeout),
            **(POOLER_ARGUMENTS if pooled else {}),
        },
    )


def connection_replacer(engine: AsyncEngine) -> Callable[[], None]:
    """Return a function that makes the pool replace each of its present connections at the next checkout.

    `AsyncEngine.dispose` would lose track of connections in use: they return to a pool that nobody closes.
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


def _session_settings(max_idle_in_transaction: timedelta) -> dict[str, str]:
    idle_ms = max(1, round(max_idle_in_transaction.total_seconds() * 1000))
    return {**_SESSION_SETTINGS, "idle_in_transaction_session_timeout": f"{idle_ms}ms"}


def _connect_arguments(
    options: Mapping[str, Any], session: Mapping[str, str], command_timeout: float | None
) -> dict[str, Any]:
    own_settings = {name: options[name] for name in ("application_name", "options") if name in options}
    arguments: dict[str, Any] = {
        "server_settings": {**session, **own_settings},
        "timeout": float(options.get("connect_timeout", 10)),
        "command_timeout": command_timeout,
    }
    dsn = {name: value for name, value in options.items() if name in _DSN_OPTIONS}
    if dsn:
        # Only for these options: host, user and the rest are passed separately and take precedence.
        arguments["dsn"] = f"postgresql://?{urlencode(dsn)}"
    return arguments


def _parse_url(database_url: str, setting: str) -> URL:
    """Return the URL, validated. No error message quotes it, since it holds a password."""
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):
        raise _url_error(setting, "expected postgresql://user:password@host:port/name") from None
    if url.drivername.partition("+")[0] not in ("postgresql", "postgres"):
        raise _url_error(setting, "expected a URL that begins with postgresql://")
    for name, value in url.query.items():
        if name not in _URL_OPTIONS:
            raise _url_error(
                setting, f"has the unknown option {name!r}; known options are {', '.join(sorted(_URL_OPTIONS))}"
            )
        if name == "sslmode" and value not in _SSL_MODES:
            raise _url_error(setting, f"sslmode must be one of {', '.join(_SSL_MODES)}")
        if name == "connect_timeout" and not str(value).isdecimal():
            raise _url_error(setting, "connect_timeout must be a number of seconds")
    return url


def _url_error(setting: str, problem: str) -> SettingsError:
    return SettingsError((f"{setting}: {problem}",))
