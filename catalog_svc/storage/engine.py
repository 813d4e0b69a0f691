"""How we connect to PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_SESSION = {
    "application_name": "catalog_svc",
    "timezone": "UTC",
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "client_connection_check_interval": "5s",
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # A cached generic plan of a join with a staging table turns into a nested loop, 60 times slower.
    "plan_cache_mode": "force_custom_plan",
}


def open_engine(
    database_url: str,
    *,
    pool_size: int = 10,
    command_timeout: float | None = 35,
    most_idle: timedelta = timedelta(seconds=10),
) -> AsyncEngine:
    """An engine for `database_url` ("postgresql://user@host/name"), nothing connected yet.

    `command_timeout`, in seconds, is our own: of a connection whose other end has vanished the server's time-outs
    tell nothing. Above the server's, so that its better word comes first. None: for migrations. `most_idle` bounds
    the silence within a transaction: a process frozen in one must not hold its row locks for ever, since whoever
    takes over waits for them.
    """
    idle = f"{max(1, round(most_idle.total_seconds() * 1000))}ms"
    session = {**_SESSION, "idle_in_transaction_session_timeout": idle}
    url = make_url(database_url).set(drivername="postgresql+asyncpg")
    # No pool_pre_ping: it costs three round trips before each transaction, and `Database` tries one again whose
    # connection turns out to be gone; the first such error has the pool replace all of its connections.
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,
        pool_recycle=1800,
        hide_parameters=True,
        connect_args={"server_settings": session, "timeout": 10, "command_timeout": command_timeout},
    )
