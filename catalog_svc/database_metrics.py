"""Prometheus metrics of the connections to PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, Histogram

_WAIT_BUCKETS_SECONDS: Final = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class DatabaseMetrics:
    """Connection pools of one replica, by name."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._up = Gauge(
            "catalog_database_up", "Whether the last ping of the database succeeded.", registry=registry
        )
        self._waits = Histogram(
            "catalog_database_pool_wait_seconds",
            "Time until a transaction had a connection, opening a new one included.",
            ["pool"],
            buckets=_WAIT_BUCKETS_SECONDS,
            registry=registry,
        )
        self._in_use = Gauge(
            "catalog_database_connections_in_use",
            "Connections that run a transaction.",
            ["pool"],
            registry=registry,
        )

    def database_up(self, up: bool) -> None:
        """Store whether the last ping succeeded."""
        self._up.set(up)

    def observe_pool(self, pool: str, in_use: Callable[[], int]) -> Callable[[float], None]:
        """Export a pool; `in_use` is called at each scrape.

        Returns:
            What must be called with the seconds that each transaction has waited for a connection.
        """
        self._in_use.labels(pool).set_function(in_use)
        return self._waits.labels(pool).observe
