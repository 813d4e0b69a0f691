"""The metrics that the services export, from the registries that they fill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from catalogsync_bff.metrics import BffMetrics
from catalogsync_common.certificate_monitor import CertificateMonitor
from catalogsync_common.drain import Drain
from catalogsync_common.event_loop_monitor import EventLoopMonitor
from catalogsync_common.metrics import CallMetrics, LoopMetrics, new_registry
from prometheus_client import CollectorRegistry

from catalog_svc.analysis_metrics import PrometheusAnalysisMetrics
from catalog_svc.database_metrics import DatabaseMetrics
from catalog_svc.domain.monitoring import CatalogState, ShopFreshness
from catalog_svc.domain.refresh import PendingRefreshes
from catalog_svc.metrics import CatalogMetrics
from catalog_svc.state_metrics import CatalogStateMetrics
from connector_svc.metrics import OutboundHttpMetrics, PassMetrics, QueryPoints, WebhookCounter

_SERIES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gaugehistogram": ("_bucket", "_gsum", "_gcount"),
    "info": ("_info",),
}


@dataclass(frozen=True, slots=True)
class ExportedMetric:
    """A metric of one service."""

    name: str
    """As the documentation names it: with "_total" if it is a counter."""
    labels: frozenset[str]
    series: frozenset[str]
    """The names of its time series."""


def exported_metrics() -> Mapping[str, ExportedMetric]:
    """Return the metrics of all services by name."""
    found: dict[str, ExportedMetric] = {}
    for registry in (_catalog(), _connector(), _bff()):
        for family in registry.collect():
            name = family.name + ("_total" if family.type == "counter" else "")
            series = frozenset(family.name + suffix for suffix in _SERIES[family.type])
            found[name] = ExportedMetric(name, _labels(registry, family.name), series)
    return found


def _labels(registry: CollectorRegistry, name: str) -> frozenset[str]:
    # The public interface of the library has labels of samples only.
    collector = registry._names_to_collectors.get(name)
    return frozenset(getattr(collector, "_labelnames", ()))


def _shared(service: str) -> CollectorRegistry:
    registry, drain = new_registry(), Drain()
    LoopMetrics(registry, service=service)
    EventLoopMonitor(registry, drain=drain)
    return registry


def _catalog() -> CollectorRegistry:
    registry = _shared("catalog")
    CatalogMetrics(registry)
    DatabaseMetrics(registry)
    PrometheusAnalysisMetrics(registry)
    CallMetrics(registry)
    CertificateMonitor((), drain=Drain(), registry=registry)
    freshness = ShopFreshness(counts=(0,) * 12, sum_seconds=0, never_synced=0)
    CatalogStateMetrics(registry).state_read(
        CatalogState(active_syncs=(), freshness=freshness, analysis_tasks=()),
        PendingRefreshes(count=0, oldest_age=timedelta()),
    )
    return registry


def _connector() -> CollectorRegistry:
    registry = _shared("connector")
    OutboundHttpMetrics(registry)
    PassMetrics(registry, clock=lambda: datetime.now(UTC))
    QueryPoints(registry)
    WebhookCounter(registry)
    return registry


def _bff() -> CollectorRegistry:
    registry = _shared("bff")
    BffMetrics(registry)
    return registry
