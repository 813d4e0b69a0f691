"""What the limits of calls must know of the services: groups of methods, and the shop that a request names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from catalogsync.catalog.v1 import analysis_service_pb2 as analysis_pb
from catalogsync.catalog.v1 import catalog_service_pb2 as pb
from catalogsync_common.auth.access_rules import path_of, rule_of
from catalogsync_common.call_limits import RateLimited, ShopLimit
from catalogsync_common.failure import InvalidRequest
from catalogsync_common.rate_limiter import RateLimit, RateLimiter

from catalog_svc.domain.ids import shop_id_of
from catalog_svc.rpc.request_validator import RequestValidator

_SERVICE: Final = pb.DESCRIPTOR.services_by_name["CatalogService"]
_SERVICES: Final = (_SERVICE, analysis_pb.DESCRIPTOR.services_by_name["AnalysisService"])
_STARTING_METHODS: Final = tuple(_SERVICE.methods_by_name[name] for name in ("StartSync", "ResumeSync"))


def start_limit(rate: RateLimit) -> ShopLimit:
    """Return the limit of the calls that start a sync of a shop."""
    return ShopLimit(methods=dict.fromkeys(map(path_of, _STARTING_METHODS), rate), shop_of=shop_of)


class WebhookRate:
    """A `WebhookLimit`: a token bucket per shop. The interceptor cannot apply it: it knows no verified shop."""

    def __init__(self, limit: RateLimit) -> None:
        self._limiter = RateLimiter[UUID](limit)

    def take(self, shop_id: UUID) -> None:
        """Take a token of the shop. Raises RateLimited."""
        if wait := self._limiter.take(shop_id):
            raise RateLimited.rate("shop", "The shop", self._limiter.limit, wait)


def method_groups() -> Mapping[str, str]:
    """Return the scope that the contract demands of each method, by the full name of the method."""
    return {path_of(method): rule_of(method).scope for service in _SERVICES for method in service.methods}


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
