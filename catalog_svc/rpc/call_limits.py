"""The limits of the calls of CatalogService."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_common.auth.access_rules import path_of, rule_of
from catalogsync_common.call_limits import CallLimits, ShopLimit
from catalogsync_common.failure import InvalidRequest
from catalogsync_common.rate_limiter import RateLimit

from catalog_svc.domain.ids import shop_id_of
from catalog_svc.rpc.request_validator import RequestValidator
from catalog_svc.settings import CatalogSettings

_SERVICE: Final = pb.DESCRIPTOR.services_by_name["CatalogService"]
_STARTING_METHODS: Final = ("StartSync", "ResumeSync")


def call_limits(settings: CatalogSettings) -> CallLimits:
    """Return the limits that the settings ask for."""
    interval = settings.start_sync_interval.total_seconds()
    starts = RateLimit(per_second=1 / interval if interval else 0, burst=settings.start_sync_burst)
    return CallLimits(
        clients=RateLimit(per_second=settings.client_calls_per_second, burst=settings.client_calls_burst),
        services=RateLimit(per_second=settings.service_calls_per_second, burst=settings.service_calls_burst),
        groups=method_groups(),
        shops=ShopLimit(methods=dict.fromkeys(map(_path, _STARTING_METHODS), starts), shop_of=shop_of),
        peer_failures=RateLimit(per_second=settings.auth_failures_per_second, burst=settings.auth_failures_burst),
        concurrent_calls=settings.max_watchers + settings.max_concurrent_calls,
        concurrent_client_calls=settings.client_concurrent_calls,
    )


def method_groups() -> Mapping[str, str]:
    """Return the scope that the contract demands of each method, by the full name of the method."""
    return {path_of(method): rule_of(method).scope for method in _SERVICE.methods}


def shop_of(request: pb.StartSyncRequest | pb.ResumeSyncRequest) -> str | None:
    """Return the shop that a request names; None if it names none, as the servicer will say.

    A shop has two names, its id and its platform with its domain, and each counts for itself: only the database
    knows that they are the same.
    """
    validator = RequestValidator()
    if isinstance(request, pb.ResumeSyncRequest):
        shop = str(shop_id_of(validator.sync_id(request.sync_id)))
    else:
        shop = str(validator.shop(request.shop))
    try:
        validator.raise_if_any()
    except InvalidRequest:
        return None
    return shop


def _path(method: str) -> str:
    return f"/{_SERVICE.full_name}/{method}"
