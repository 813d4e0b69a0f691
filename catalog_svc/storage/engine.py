"""How we connect to PostgreSQL."""

from __future__ import annotations

from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_SESSION = {
    "application_name": "catalog_svc",
    "timezone": "UTC",
    # A process frozen inside a transaction must not hold its row locks for ever: takeover waits for this.
    "idle_in_transaction_session_timeout": "10s",
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "client_connection_check_interval": "5s",
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # A cached generic plan of a join with a staging table turns into a nested loop, 60 times slower.
    "plan_cache_mode": "force_custom_plan",
}


def open_engine(database_url: str, *, pool_size: int = 10, command_timeout: float | None = 35) -> AsyncEngine:
    """An engine for `database_url` ("postgresql://user@host/name"), nothing connected yet.

    `command_timeout`, in seconds, is our own: of a connection whose other end has vanished the server's time-outs
    tell nothing. Above the server's, so that its better word comes first. None: for migrations.
    """
    url = make_url(database_url).set(drivername="postgresql+asyncpg")
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,
        pool_pre_ping=True,
        pool_recycle=1800,
        hide_parameters=True,
        connect_args={"server_settings": _SESSION, "timeout": 10, "command_timeout": command_timeout},
    )
