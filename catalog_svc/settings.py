"""Settings of catalog_svc; each is an environment variable with the prefix CATALOG_."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from catalogsync_common.settings import Duration, ListenAddress, ServiceSettings
from catalogsync_common.token_claims import CLIENT_TOKEN_LIFETIME
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict


class CatalogSettings(ServiceSettings):
    """Settings of one replica, as listed in docs/operations/settings.md."""

    model_config = SettingsConfigDict(env_prefix="CATALOG_", env_ignore_empty=True)

    listen_address: ListenAddress = ListenAddress("127.0.0.1:50051")
    database_url: SecretStr = SecretStr("")
    """Empty: an embedded PostgreSQL under `data_dir`."""
    data_dir: Path = Path(".data/postgres")
    connector_address: str = "127.0.0.1:50052"
    connector_secret: SecretStr = SecretStr("")
    """"name:secret": this service, as the connector knows it."""
    client_keys: SecretStr = SecretStr("")
    """"kid:key,kid:key": verify tokens of clients with HS256."""
    client_jwks_file: Path | None = None
    """Public keys that verify tokens of clients with RS256, ES256 or EdDSA."""
    client_audience: str = "catalogsync"
    client_issuer: str = ""
    """The `aud` and the `iss` of the tokens of clients."""
    client_token_lifetime: Duration = Field(
        default=CLIENT_TOKEN_LIFETIME, gt=timedelta(), le=CLIENT_TOKEN_LIFETIME
    )
    """The longest lifetime of a client's token."""
    client_token_compatibility: bool = False
    """Whether tokens of the old BFF are accepted: without kid, aud and iss, and with the scope "bff:call"."""
    operator_keys: SecretStr = SecretStr("")
    """"kid:key": verify tokens of operators; `catalogsync token` mints them."""
    connector_tls_ca_file: Path | None = None
    """PEM: the CAs of connector_svc's certificate; it turns TLS on for the connection to connector_svc."""
    connector_tls_cert_file: Path | None = None
    """PEM: the certificate that catalog_svc presents to connector_svc (mTLS), with `connector_tls_key_file`."""
    connector_tls_key_file: Path | None = None
    connector_tls_server_name: str = ""
    """The name in connector_svc's certificate; empty: the host in `connector_address`."""
    database_startup_timeout: Duration = timedelta(seconds=30)
    """How long to wait for the database at the start."""
    database_pool_size: int = Field(default=10, ge=2, le=200)
    """Connections kept open for syncs, leases and calls that write; up to twice as many under load."""
    database_read_pool_size: int = Field(default=8, ge=1, le=200)
    """Connections for calls that read, and no more of them under load."""
    database_pooled: bool = False
    """Whether the database is reached through a pooler in transaction mode, such as PgBouncer."""
    migrate_database_url: SecretStr = SecretStr("")
    """For `migrate`, which needs a direct connection of the tables' owner; empty: `database_url`."""
    service_role: str = ""
    """For `migrate`: the database role of `database_url`, which gets the rights that it needs. Empty:
    `database_url` has the role of the tables' owner, whom row-level security does not bind."""
    text_search: bool = False
    """Whether `migrate` creates the indexes for text search, if the database has the extensions, or drops them."""
    max_running_syncs: int = Field(default=8, ge=0, le=500)
    """Syncs that this replica runs at the same time; 0: it serves clients only."""
    max_running_per_platform: int = Field(default=6, ge=1, le=500)
    max_watchers: int = Field(default=10_000, ge=1)
    max_watchers_per_shop: int = Field(default=20, ge=1)
    """Of the watchers of this replica."""
    client_calls_per_second: float = Field(default=50, ge=0)
    """Of each client and group of methods; 0: no limit."""
    client_calls_burst: int = Field(default=200, ge=1)
    client_concurrent_calls: int = Field(default=200, ge=1)
    """Calls in progress of each client, watches included."""
    start_sync_interval: Duration = timedelta(seconds=10)
    """Between two starts of syncs of one shop in the long run; zero: no limit."""
    start_sync_burst: int = Field(default=5, ge=1)
    """Starts of one shop that need not wait."""
    max_running_refreshes: int = Field(default=8, ge=0, le=500)
    """Shops whose products are read by their ids at the same time, by this replica; 0: none."""
    max_refreshes_per_platform: int = Field(default=6, ge=1, le=500)
    webhooks_per_second: float = Field(default=50, ge=0)
    """Verified deliveries of each shop; 0: no limit."""
    webhooks_burst: int = Field(default=1_000, ge=1)
    heartbeat_interval: Duration = Field(
        default=timedelta(seconds=10), ge=timedelta(milliseconds=100), le=timedelta(seconds=25)
    )
    """Between two heartbeats to a watcher; the contract promises one every 30 s. After three, and 10 s at
    least, without a successful read of its sync a watcher gets STORAGE_UNAVAILABLE instead."""
    lease_ttl: Duration = timedelta(seconds=15)
    give_up_after: Duration = timedelta(hours=24)
    give_up_new_shop_after: Duration = timedelta(minutes=1)
    max_claims_without_progress: int = Field(default=5, ge=1)
    incremental_overlap: Duration = timedelta(minutes=5)
    incremental_every: Duration = timedelta()
    """For shops without a schedule of their own, like `full_every`; zero: never."""
    full_every: Duration = timedelta()
    silent_incremental_every: Duration = timedelta(minutes=15)
    """Longest interval of scheduled incremental syncs of shops whose webhooks are silent; zero: not shortened."""
    webhook_address: str = Field(
        default="", pattern=r"^(https://[^\s@#]+|http://(127\.0\.0\.1|localhost)[:/][^\s@#]*)?$", max_length=1_000
    )
    """The https URL to which platforms deliver, for the check of webhooks; "{platform}" and "{domain}" stand for
    those of the shop. Empty: webhooks are not checked."""
    webhook_check_every: Duration = Field(default=timedelta(days=1), ge=timedelta(minutes=10))
    """Between two checks of the webhooks of a shop."""
    audit_every: Duration = timedelta()
    """Between two audits of each shop with a healthy connection; zero: never."""
    audit_sample: int = Field(default=50, ge=1, le=1_000)
    """Products that such an audit chooses at random."""
    metrics_interval: Duration = Field(
        default=timedelta(seconds=15), ge=timedelta(milliseconds=100), le=timedelta(minutes=1)
    )
    """Between two reads of the database for the metrics that describe the whole catalog."""
    sync_retention: Duration = timedelta(days=30)
    request_id_retention: Duration = timedelta(days=7)
    deleted_record_retention: Duration = timedelta(days=90)
    change_retention: Duration = timedelta(days=7)
    """How long followers of many shops may be away (WatchChanges, WatchSyncs)."""

    @property
    def authentication_enabled(self) -> bool:
        keys = (self.service_secrets, self.client_keys, self.operator_keys)
        return any(secret.get_secret_value() for secret in keys) or self.client_jwks_file is not None
