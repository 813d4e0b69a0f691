"""The panels of the Grafana dashboard, by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """A chart over time."""

    title: str
    unit: str
    """One of Grafana's: "short", "s", "bytes", "percentunit", "reqps", "ops"."""
    description: str
    queries: Mapping[str, str]
    """PromQL, and the name of its series in the legend."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Panels about one subject."""

    title: str
    panels: tuple[Panel, ...]


def _rate(metric: str, *by: str, where: str = "") -> str:
    """Return the rate of a counter, summed by these labels."""
    selector = f"{metric}{{{where}}}" if where else metric
    return f"sum by ({', '.join(by)}) (rate({selector}[$__rate_interval]))"


def _quantile(share: float, metric: str, *by: str, where: str = "") -> str:
    return f"histogram_quantile({share:g}, {_rate(f'{metric}_bucket', 'le', *by, where=where)})"


def _largest(metric: str, *by: str) -> str:
    return f"max by ({', '.join(by)}) ({metric})"


_FRESH: Final = 'max(catalog_shop_freshness_seconds_bucket{{le="{le}"}})'

_SYNCS: Final = Row(
    title="Syncs",
    panels=(
        Panel(
            title="Active syncs",
            unit="short",
            description="Pending: not claimed yet. Unowned: claimed before, and without a replica now.",
            queries={_largest("catalog_syncs_active", "platform", "state"): "{{platform}} {{state}}"},
        ),
        Panel(
            title="Age of the oldest pending and unowned sync",
            unit="s",
            description="Pending: since its creation. Unowned: since its lease ended.",
            queries={
                _largest("catalog_syncs_pending_oldest_seconds", "platform"): "{{platform}} pending",
                _largest("catalog_syncs_unowned_longest_seconds", "platform"): "{{platform}} unowned",
            },
        ),
        Panel(
            title="Ended syncs",
            unit="ops",
            description="By state; failed ones by reason.",
            queries={
                _rate(
                    "catalog_syncs_ended_total", "platform", "state", "reason"
                ): "{{platform}} {{state}} {{reason}}"
            },
        ),
        Panel(
            title="Waiting syncs",
            unit="short",
            description="Syncs that run and wait, by reason.",
            queries={"sum by (reason) (catalog_syncs_waiting)": "{{reason}}"},
        ),
        Panel(
            title="Running syncs by replica",
            unit="short",
            description="CATALOG_MAX_RUNNING_SYNCS limits them.",
            queries={"sum by (instance) (catalog_syncs_running)": "{{instance}}"},
        ),
        Panel(
            title="Claims, takeovers and refused writes",
            unit="ops",
            description="A takeover is a claim for a later attempt. Writes are refused after the lease was lost.",
            queries={
                "sum(rate(catalog_syncs_claimed_total[$__rate_interval]))": "claimed",
                "sum(rate(catalog_syncs_taken_over_total[$__rate_interval]))": "taken over",
                "sum(rate(catalog_leases_lost_total[$__rate_interval]))": "lease lost",
            },
        ),
        Panel(
            title="Lease age",
            unit="s",
            description="Longest time since a lease was claimed or renewed; at CATALOG_LEASE_TTL it is lost.",
            queries={_largest("catalog_lease_age_seconds", "instance"): "{{instance}}"},
        ),
        Panel(
            title="Stored items",
            unit="ops",
            description="Items in committed batches, unchanged ones included.",
            queries={_rate("catalog_items_stored_total", "platform"): "{{platform}}"},
        ),
        Panel(
            title="Time to store a batch",
            unit="s",
            description="From the call to the commit, retries included.",
            queries={
                _quantile(0.5, "catalog_batch_seconds"): "median",
                _quantile(0.99, "catalog_batch_seconds"): "99 %",
            },
        ),
    ),
)

_DATA: Final = Row(
    title="Data",
    panels=(
        Panel(
            title="Freshness of shops",
            unit="short",
            description="Shops by the time since the state of the platform that is stored completely.",
            queries={
                _FRESH.format(le="3600"): "within an hour",
                _FRESH.format(le="86400"): "within a day",
                _FRESH.format(le="+Inf"): "ever synced",
                "max(catalog_shops_never_synced)": "never synced",
            },
        ),
        Panel(
            title="Freshness of the median shop and of nine in ten",
            unit="s",
            description="Time since the state of the platform that is stored completely.",
            queries={
                f"histogram_quantile({share}, max by (le) (catalog_shop_freshness_seconds_bucket))": name
                for share, name in (("0.5", "median"), ("0.9", "90 %"))
            },
        ),
        Panel(
            title="Issues and rejected products",
            unit="ops",
            description="Issues of stored batches, by reason.",
            queries={
                _rate(
                    "catalog_issues_stored_total", "reason", "product_rejected"
                ): "{{reason}} rejected={{product_rejected}}"
            },
        ),
        Panel(
            title="Count mismatches and drift",
            unit="ops",
            description="Syncs with fewer products than counted; products that an audit found to be wrong.",
            queries={
                "sum(rate(catalog_count_mismatches_total[$__rate_interval]))": "count mismatches",
                "sum(rate(catalog_audited_products_total[$__rate_interval]))": "audited products",
                "sum(rate(catalog_drifted_products_total[$__rate_interval]))": "drifted products",
            },
        ),
        Panel(
            title="Webhooks and refreshes",
            unit="ops",
            description="Verified deliveries, and products that were read by their ids.",
            queries={
                _rate("catalog_webhooks_ingested_total", "outcome"): "delivery {{outcome}}",
                _rate("catalog_products_refreshed_total", "result"): "product {{result}}",
                _rate("catalog_refresh_failures_total", "reason"): "failed {{reason}}",
            },
        ),
        Panel(
            title="Oldest product to refresh",
            unit="s",
            description="Since the oldest product that waits was named by a webhook.",
            queries={
                "max(catalog_refreshes_pending_oldest_seconds)": "oldest",
                "max(catalog_refreshes_pending)": "products",
            },
        ),
        Panel(
            title="Webhook checks",
            unit="ops",
            description="Checks of the webhooks of shops, with CATALOG_WEBHOOK_ADDRESS.",
            queries={_rate("catalog_webhook_checks_total", "outcome"): "{{outcome}}"},
        ),
        Panel(
            title="Analysis tasks",
            unit="short",
            description="Tasks that are open or dead.",
            queries={_largest("catalog_analysis_tasks", "analyzer", "state"): "{{analyzer}} {{state}}"},
        ),
        Panel(
            title="Age of the oldest analysis task, results",
            unit="short",
            description="Age in seconds of the oldest open task; results per second by outcome.",
            queries={
                _largest("catalog_analysis_tasks_oldest_seconds", "analyzer"): "{{analyzer}} oldest (s)",
                _rate("catalog_analysis_results_total", "outcome"): "{{outcome}}",
                _rate("catalog_analysis_tasks_leased_total", "analyzer"): "{{analyzer}} leased",
            },
        ),
    ),
)

_FOLLOWERS: Final = Row(
    title="Watchers",
    panels=(
        Panel(
            title="Watchers",
            unit="short",
            description="Watchers of syncs, items and changes; followers of many shops are part of them.",
            queries={
                "sum(catalog_watchers)": "watchers",
                "sum(catalog_change_followers)": "of many shops",
                "sum by (grpc_method) (grpc_server_streams_open)": "{{grpc_method}}",
            },
        ),
        Panel(
            title="Age of delivered changes",
            unit="s",
            description="From the write of a change to its delivery.",
            queries={
                _quantile(0.5, "catalog_event_age_seconds", "stream"): "{{stream}} median",
                _quantile(0.99, "catalog_event_age_seconds", "stream"): "{{stream}} 99 %",
            },
        ),
        Panel(
            title="Delay of the change feed",
            unit="s",
            description="Age of the oldest change that followers of many shops cannot get yet.",
            queries={"max(catalog_change_delay_seconds)": "delay"},
        ),
        Panel(
            title="BFF: browsers and streams upstream",
            unit="short",
            description="Event streams of browsers, and what they need of catalog_svc.",
            queries={
                "sum(bff_streams)": "browsers",
                "sum(bff_watched_syncs)": "watched syncs",
                "sum(bff_feeds)": "feeds",
            },
        ),
        Panel(
            title="BFF: requests",
            unit="reqps",
            description="By status; 499: the client closed the connection.",
            queries={_rate("bff_requests_total", "status"): "{{status}}"},
        ),
        Panel(
            title="BFF: duration of requests",
            unit="s",
            description="Without event streams.",
            queries={_quantile(0.95, "bff_request_seconds", where='route!~".*events.*"'): "95 %"},
        ),
    ),
)

_PLATFORMS: Final = Row(
    title="Platforms",
    panels=(
        Panel(
            title="Requests by outcome",
            unit="reqps",
            description="Attempts of requests to shops.",
            queries={
                _rate(
                    "connector_http_requests_total", "platform", "outcome", where='host_class="shop"'
                ): "{{platform}} {{outcome}}"
            },
        ),
        Panel(
            title="Duration of requests",
            unit="s",
            description="Of attempts, until the last byte.",
            queries={_quantile(0.95, "connector_http_request_seconds", "platform"): "{{platform}} 95 %"},
        ),
        Panel(
            title="Retries and opened circuit breakers",
            unit="ops",
            description="A circuit breaker opens after 8 attempts in a row without an answer.",
            queries={
                _rate("connector_http_retries_total", "platform"): "{{platform}} retries",
                _rate("connector_http_circuit_openings_total", "platform"): "{{platform}} circuits",
            },
        ),
        Panel(
            title="Waiting for platforms",
            unit="short",
            description="Planned seconds of waiting per second, of all syncs: rate limits, retries, jobs.",
            queries={
                _rate("connector_wait_seconds_total", "platform", "reason"): "{{platform}} {{reason}}",
                _rate("connector_http_wait_seconds_total", "platform", "reason"): "{{platform}} retry {{reason}}",
            },
        ),
        Panel(
            title="Used share of the restored query points",
            unit="percentunit",
            description="Of Shopify shops that are being read. Little: something else limits the syncs.",
            queries={
                f"{_rate('connector_query_points_used_total', 'platform')}"
                f" / {_rate('connector_query_points_restored_total', 'platform')}": "{{platform}}"
            },
        ),
        Panel(
            title="Passes",
            unit="short",
            description="Streams of products in progress.",
            queries={"sum by (platform) (connector_streams)": "{{platform}}"},
        ),
    ),
)

_PROCESSES: Final = Row(
    title="Calls and processes",
    panels=(
        Panel(
            title="Calls",
            unit="reqps",
            description="Started calls, streams included.",
            queries={_rate("grpc_server_call_started_total", "grpc_method"): "{{grpc_method}}"},
        ),
        Panel(
            title="Duration of calls",
            unit="s",
            description="Of calls that are no streams.",
            queries={
                _quantile(0.5, "grpc_server_call_duration_seconds", "job"): "{{job}} median",
                _quantile(0.99, "grpc_server_call_duration_seconds", "job"): "{{job}} 99 %",
            },
        ),
        Panel(
            title="Failed and refused calls",
            unit="reqps",
            description="Calls by a status other than OK; those refused because of a limit; unexpected errors.",
            queries={
                _rate(
                    "grpc_server_call_duration_seconds_count", "grpc_status", where='grpc_status!="OK"'
                ): "{{grpc_status}}",
                _rate("grpc_server_calls_refused_total", "limit"): "limit {{limit}}",
                _rate("grpc_server_unexpected_errors_total", "job"): "{{job}} unexpected",
            },
        ),
        Panel(
            title="Connections to PostgreSQL in use",
            unit="short",
            description="By pool; 1 and 0 of `up`: whether the replica reaches PostgreSQL.",
            queries={
                "sum by (pool) (catalog_database_connections_in_use)": "{{pool}}",
                "min(catalog_database_up)": "up",
            },
        ),
        Panel(
            title="Time until a transaction has a connection",
            unit="s",
            description="By pool.",
            queries={_quantile(0.99, "catalog_database_pool_wait_seconds", "pool"): "{{pool}} 99 %"},
        ),
        Panel(
            title="Database failures",
            unit="ops",
            description="Operations of syncs that failed because the database was unavailable.",
            queries={"sum(rate(catalog_database_failures_total[$__rate_interval]))": "failures"},
        ),
        Panel(
            title="Failures of background loops",
            unit="ops",
            description="Each is followed by a restart of the loop.",
            queries={
                _rate(f"{service}_loop_failures_total", "job", "loop"): "{{job}} {{loop}}"
                for service in ("catalog", "connector", "bff")
            },
        ),
        Panel(
            title="Blocked share of the event loop",
            unit="percentunit",
            description="Seconds per second for which the event loop was late.",
            queries={_rate("event_loop_lag_seconds_sum", "job", "instance"): "{{job}} {{instance}}"},
        ),
        Panel(
            title="Memory",
            unit="bytes",
            description="Resident memory.",
            queries={"process_resident_memory_bytes": "{{job}} {{instance}}"},
        ),
        Panel(
            title="CPU",
            unit="percentunit",
            description="Seconds of CPU per second.",
            queries={_rate("process_cpu_seconds_total", "job", "instance"): "{{job}} {{instance}}"},
        ),
        Panel(
            title="Expiry of TLS certificates",
            unit="s",
            description="Time left.",
            queries={"min by (job, use) (tls_certificate_expiry_seconds)": "{{job}} {{use}}"},
        ),
        Panel(
            title="Targets that answer",
            unit="short",
            description="Replicas that Prometheus reaches.",
            queries={'sum by (job) (up{job=~"catalog_svc|connector_svc|bff"})': "{{job}}"},
        ),
    ),
)

ROWS: Final = (_SYNCS, _DATA, _FOLLOWERS, _PLATFORMS, _PROCESSES)
