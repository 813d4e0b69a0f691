"""Requests, checked: every wrong field is named at once.

The platforms of a process, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync_common.failure import FieldViolation, InvalidRequest
from google.protobuf.timestamp_pb2 import Timestamp

from connector_svc.domain.fetch import FetchRequest
from connector_svc.domain.shop import Shop, canonical_domain
from connector_svc.platforms.base import Platform

MAX_BATCH_PRODUCTS: Final = 250
MAX_CHECKPOINT_BYTES: Final = 64 * 1024
MAX_PRODUCT_IDS: Final = 250
MAX_PRODUCT_ID_LENGTH: Final = 200
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""No platform is older; WooCommerce and Shopify fail on times of the first centuries."""
CLOCK_SKEW: Final = timedelta(days=1)
"""How far the caller's clock may be before ours."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopRequest:
    """A shop and its platform."""

    platform: Platform
    shop: Shop


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamRequest:
    """A pass and the platform that does it; the checkpoint is still the stream's, not the platform's."""

    platform: Platform
    fetch: FetchRequest

    def at(self, checkpoint: bytes) -> FetchRequest:
        """What the platform is asked."""
        return replace(self.fetch, checkpoint=checkpoint)


@dataclass(frozen=True, kw_only=True, slots=True)
class AbandonRequest:
    """A pass that nobody will continue; the checkpoint is the stream's, and not empty."""

    platform: Platform
    shop: Shop
    checkpoint: bytes


class _Violations:
    """Collects what several checks say."""

    def __init__(self) -> None:
        self._found: list[FieldViolation] = []

    def run(self, check: Callable[[], T]) -> T | None:
        try:
            return check()
        except InvalidRequest as failure:
            self._found.extend(failure.violations)
            return None

    def raise_if_any(self) -> None:
        if self._found:
            raise InvalidRequest(*self._found)


def parse_shop(ref: pb.ShopRef, platforms: Platforms) -> ShopRequest:
    """The shop that `ref` names. Raises InvalidRequest."""
    violations = _Violations()
    platform = violations.run(lambda: platforms.named(ref.platform))
    domain = violations.run(lambda: _domain(ref.domain, platform))
    violations.raise_if_any()
    assert platform is not None and domain is not None  # noqa: PT018
    return ShopRequest(platform=platform, shop=Shop(platform.name, domain))


def parse_fetch(request: pb.FetchProductsRequest, platforms: Platforms) -> StreamRequest:
    """What is to be fetched. Raises InvalidRequest."""
    violations = _Violations()
    target = violations.run(lambda: parse_shop(request.shop, platforms))
    updated_after = violations.run(lambda: _updated_after(request))
    max_products = violations.run(lambda: _max_batch_products(request.max_batch_products))
    violations.run(lambda: _check_size(request.checkpoint))
    product_ids = violations.run(lambda: _product_ids(request))
    violations.raise_if_any()
    assert target is not None and max_products is not None and product_ids is not None  # noqa: PT018
    return StreamRequest(
        platform=target.platform,
        fetch=FetchRequest(
            shop=target.shop,
            updated_after=updated_after,
            checkpoint=request.checkpoint,
            max_batch_products=max_products,
            product_ids=product_ids,
        ),
    )


def parse_abandon(request: pb.AbandonFetchRequest, platforms: Platforms) -> AbandonRequest:
    """The pass that is given up. Raises InvalidRequest."""
    violations = _Violations()
    target = violations.run(lambda: parse_shop(request.shop, platforms))
    violations.run(lambda: _check_present(request.checkpoint))
    violations.run(lambda: _check_size(request.checkpoint))
    violations.raise_if_any()
    assert target is not None
    return AbandonRequest(platform=target.platform, shop=target.shop, checkpoint=request.checkpoint)


def _domain(raw: str, platform: Platform | None) -> str:
    """The canonical domain. What a domain must look like is known only of a known platform."""
    if platform is not None:
        return canonical_domain(raw, platform.domain_pattern, platform.domain_example)
    if not raw:
        raise InvalidRequest.of("shop.domain", "is required: the shop's host name")
    return raw


def _updated_after(request: pb.FetchProductsRequest) -> datetime | None:
    return _moment(request.updated_after) if request.HasField("updated_after") else None


def _moment(stamp: Timestamp) -> datetime:
    """The time, if a platform can be asked for it: their own ranges are narrower than a Timestamp's."""
    try:
        moment = stamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        moment = None
    if moment is None or not EARLIEST <= moment <= datetime.now(UTC) + CLOCK_SKEW:
        text = f"must be a time from {EARLIEST:%Y-%m-%dT%H:%M:%SZ} until now; leave it out to fetch everything"
        raise InvalidRequest.of("updated_after", text)
    return moment


def _max_batch_products(asked: int) -> int:
    if asked < 0:
        raise InvalidRequest.of("max_batch_products", "must not be negative")
    return min(asked or MAX_BATCH_PRODUCTS, MAX_BATCH_PRODUCTS)


def _product_ids(request: pb.FetchProductsRequest) -> tuple[str, ...]:
    asked = tuple(dict.fromkeys(request.product_ids))
    if not asked:
        return ()
    if request.HasField("updated_after") or request.checkpoint:
        raise InvalidRequest.of("product_ids", "must not come together with updated_after or checkpoint")
    if len(asked) > MAX_PRODUCT_IDS:
        raise InvalidRequest.of("product_ids", f"must not be more than {MAX_PRODUCT_IDS}")
    if not all(0 < len(product_id) <= MAX_PRODUCT_ID_LENGTH for product_id in asked):
        raise InvalidRequest.of("product_ids", f"must each have 1 to {MAX_PRODUCT_ID_LENGTH} characters")
    return asked


def _check_present(checkpoint: bytes) -> None:
    if not checkpoint:
        raise InvalidRequest.of("checkpoint", "must be that of the last stored batch")


def _check_size(checkpoint: bytes) -> None:
    if len(checkpoint) > MAX_CHECKPOINT_BYTES:
        raise InvalidRequest.of("checkpoint", f"must not exceed {MAX_CHECKPOINT_BYTES} bytes")


class Platforms:
    """Finds a platform."""

    def __init__(self, platforms: Iterable[Platform]) -> None:
        self._by_name = {platform.name: platform for platform in sorted(platforms, key=lambda p: p.name)}

    def all(self) -> Sequence[Platform]:
        """Sorted by name."""
        return tuple(self._by_name.values())

    def named(self, name: str) -> Platform:
        """The platform of that name. Raises InvalidRequest that says which there are."""
        platform = self._by_name.get(name)
        if platform is not None:
            return platform
        if name.strip().lower() in self._by_name:
            text = f"must be written {name.strip().lower()!r}, in lower case and without blanks"
        else:
            text = f"{'must be' if name else 'is required,'} one of: {', '.join(self._by_name)}"
        raise InvalidRequest.of("shop.platform", text)
