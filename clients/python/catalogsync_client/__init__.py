"""The Python client of catalogsync: calls, streams that resume, renewed credentials, errors by reason."""

from catalogsync_common.call_context import correlated
from catalogsync_common.client_tls import ClientTls, ClientTlsInvalid

from catalogsync_client.analysis import AnalysisWorker, WorkerCounts
from catalogsync_client.analyzer import Analyzer, TaskFailed
from catalogsync_client.blocking import BlockingCatalogClient
from catalogsync_client.client import CatalogClient
from catalogsync_client.connector import ConnectorClient
from catalogsync_client.credentials import (
    BearerToken,
    Credentials,
    CredentialsInvalid,
    NoCredentials,
    ServiceSecret,
    TokenFile,
    TokenProvider,
)
from catalogsync_client.errors import (
    CallTimedOut,
    CatalogSyncError,
    ConnectionFailed,
    ServiceUnavailable,
    TokenUnavailable,
    UnexpectedError,
)
from catalogsync_client.mirror import MirrorBatch, MirrorState, MirrorStore, mirror_items
from catalogsync_client.resuming_stream import Disconnect
from catalogsync_client.retry_policy import RetryPolicy
from catalogsync_client.shop import ShopLike, ShopName, shop_ref, shop_ref_text
from catalogsync_client.sync_state import SyncNotSuccessful, error_info, has_ended

__all__ = [
    "AnalysisWorker",
    "Analyzer",
    "BearerToken",
    "BlockingCatalogClient",
    "CallTimedOut",
    "CatalogClient",
    "CatalogSyncError",
    "ClientTls",
    "ClientTlsInvalid",
    "ConnectionFailed",
    "ConnectorClient",
    "Credentials",
    "CredentialsInvalid",
    "Disconnect",
    "MirrorBatch",
    "MirrorState",
    "MirrorStore",
    "NoCredentials",
    "RetryPolicy",
    "ServiceSecret",
    "ServiceUnavailable",
    "ShopLike",
    "ShopName",
    "SyncNotSuccessful",
    "TaskFailed",
    "TokenFile",
    "TokenProvider",
    "TokenUnavailable",
    "UnexpectedError",
    "WorkerCounts",
    "correlated",
    "error_info",
    "has_ended",
    "mirror_items",
    "shop_ref",
    "shop_ref_text",
]
