"""Request validation: parses requests, and reports every wrong field at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar
from urllib.parse import urlsplit

from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync_common.failure import FieldViolation, InvalidRequest
from google.protobuf.timestamp_pb2 import Timestamp

from connector_svc.domain.fetch import FetchRequest
from connector_svc.domain.shop import Shop, canonical_domain
from connector_svc.domain.webhook import Delivery, DeliveryHeaders
from connector_svc.platforms.base import Platform

MAX_BATCH_PRODUCTS: Final = 250
MAX_CHECKPOINT_BYTES: Final = 64 * 1024
MAX_PRODUCT_IDS: Final = 250
MAX_PRODUCT_ID_LENGTH: Final = 200
MAX_WEBHOOK_BODY_BYTES: Final = 1024 * 1024
MAX_WEBHOOK_HEADERS: Final = 100
MAX_ADDRESS_LENGTH: Final = 2_000
_LOOPBACK_HOSTS: Final = ("localhost", "127.0.0.1", "::1")
MAX_HEADER_LENGTH: Final = 8 * 1024
"""Of a name or a value, in characters."""
MIN_UPDATED_AFTER: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""No platform is older; WooCommerce and Shopify fail on times of the first centuries."""
MAX_CLOCK_SKEW: Final = timedelta(days=1)
"""How far the caller's clock may be ahead of ours."""

T = TypeVar("T")


class Platforms:
    """The platforms of the process, by name."""

    def __init__(self, platforms: Iterable[Platform]) -> None:
        self._by_name = {platform.name: platform for platform in sorted(platforms, key=lambda p: p.name)}

    def all(self) -> Sequence[Platform]:
        """Return all platforms, sorted by name."""
        return tuple(self._by_name.values())

    def by_name(self, name: str, *, field: str = "shop.platform") -> Platform:
        """Return the platform of that name. Raises InvalidRequest for `field` that lists the existing ones."""
        platform = self._by_name.get(name)
        if platform is not None:
            return platform
        if name.strip().lower() in self._by_name:
            text = f"must be written {name.strip().lower()!r}, in lower case and without spaces"
        else:
            text = f"{'must be' if name else 'is required,'} one of: {', '.join(self._by_name)}"
        raise InvalidRequest.of(field, text)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShopRequest:
    """A shop and its platform."""

    platform: Platform
    shop: Shop


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamRequest:
    """A pass and its platform. The checkpoint is that of the stream, not that of the platform."""

    platform: Platform
    fetch: FetchRequest

    def with_checkpoint(self, checkpoint: bytes) -> FetchRequest:
        """Return the request for the platform, with the platform's own checkpoint."""
        return replace(self.fetch, checkpoint=checkpoint)


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelRequest:
    """A pass that will not be continued. The checkpoint is that of the stream, and not empty."""

    platform: Platform
    shop: Shop
    checkpoint: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class EnsureRequest:
    """The webhooks that a shop is to have."""

    shop: Shop
    address: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookRequest:
    """A delivery to verify, and its platform."""

    platform: Platform
    delivery: Delivery


class _Violations:
    """Collects the violations of several checks, so that all are reported at once."""

    def __init__(self) -> None:
        self._found: list[FieldViolation] = []

    def check(self, parse: Callable[[], T]) -> T | None:
        """Return what `parse` returns, or None after collecting the violations that it raises."""
        try:
            return parse()
        except InvalidRequest as failure:
            self._found.extend(failure.violations)
            return None

    def add(self, field: str, description: str) -> None:
        """Collect one violation."""
        self._found.append(FieldViolation(field=field, description=description))

    def raise_if_any(self) -> None:
        """Raise InvalidRequest with all violations, if there are any."""
        if self._found:
            raise InvalidRequest(*self._found)


def parse_shop(ref: pb.ShopRef, platforms: Platforms) -> ShopRequest:
    """Return the shop that `ref` names, and its platform. Raises InvalidRequest."""
    violations = _Violations()
    platform = violations.check(lambda: platforms.by_name(ref.platform))
    domain = violations.check(lambda: _domain(ref.domain, platform))
    violations.raise_if_any()
    assert platform is not None and domain is not None  # noqa: PT018
    return ShopRequest(platform=platform, shop=Shop(platform.name, domain))


def parse_fetch(request: pb.FetchProductsRequest, platforms: Platforms) -> StreamRequest:
    """Return what to fetch. Raises InvalidRequest that names every wrong field."""
    violations = _Violations()
    target = violations.check(lambda: parse_shop(request.shop, platforms))
    updated_after = violations.check(lambda: _updated_after(request))
    max_products = violations.check(lambda: _max_batch_products(request.max_batch_products))
    violations.check(lambda: _check_size(request.checkpoint))
    product_ids = violations.check(lambda: _product_ids(request))
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


def parse_cancel(request: pb.CancelFetchRequest, platforms: Platforms) -> CancelRequest:
    """Return the pass whose job is to be cancelled. Raises InvalidRequest."""
    violations = _Violations()
    target = violations.check(lambda: parse_shop(request.shop, platforms))
    violations.check(lambda: _check_present(request.checkpoint))
    violations.check(lambda: _check_size(request.checkpoint))
    violations.raise_if_any()
    assert target is not None
    return CancelRequest(platform=target.platform, shop=target.shop, checkpoint=request.checkpoint)


def parse_webhook(
    request: pb.VerifyWebhookRequest, platforms: Platforms, sending: Collection[str]
) -> WebhookRequest:
    """Return the delivery to verify. Raises InvalidRequest.

    Args:
        request: The request.
        platforms: All platforms.
        sending: The names of those that send webhooks.
    """
    violations = _Violations()
    platform = violations.check(lambda: _webhook_platform(request.platform, platforms, sending))
    domain = violations.check(lambda: _webhook_domain(request.domain, platform))
    violations.check(lambda: _check_body(request.body))
    headers = violations.check(lambda: _webhook_headers(request))
    violations.raise_if_any()
    assert platform is not None and domain is not None and headers is not None  # noqa: PT018
    return WebhookRequest(platform=platform, delivery=Delivery(headers=headers, body=request.body, domain=domain))


def parse_ensure(
    request: pb.EnsureWebhooksRequest, platforms: Platforms, registering: Collection[str]
) -> EnsureRequest:
    """Return the webhooks to create. Raises InvalidRequest.

    Args:
        request: The request.
        platforms: All platforms.
        registering: The names of those on which webhooks can be created.
    """
    violations = _Violations()
    target = violations.check(lambda: parse_shop(request.shop, platforms))
    address = violations.check(lambda: _address(request.address))
    if target is not None and target.platform.name not in registering:
        text = f"must be one that sends webhooks: {', '.join(sorted(registering))}"
        violations.add("shop.platform", text)
    violations.raise_if_any()
    assert target is not None and address is not None  # noqa: PT018
    return EnsureRequest(shop=target.shop, address=address)


def _address(address: str) -> str:
    """Return the address to which a platform sends webhooks. Over plain http only on this machine, for tests."""
    if not address or len(address) > MAX_ADDRESS_LENGTH or not address.isascii() or not address.isprintable():
        raise InvalidRequest.of("address", f"is required: a URL of 1 to {MAX_ADDRESS_LENGTH} ASCII characters")
    try:
        parts = urlsplit(address)
        secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK_HOSTS)
    except ValueError:
        secure, parts = False, urlsplit("")
    if not secure or not parts.hostname or parts.username is not None or parts.fragment or " " in address:
        text = "must be an https URL without user and fragment, such as https://bff.example/webhooks/1"
        raise InvalidRequest.of("address", text)
    return address


def _webhook_platform(name: str, platforms: Platforms, sending: Collection[str]) -> Platform:
    platform = platforms.by_name(name, field="platform")
    if name not in sending:
        raise InvalidRequest.of("platform", f"must be one that sends webhooks: {', '.join(sorted(sending))}")
    return platform


def _webhook_domain(raw: str, platform: Platform | None) -> str:
    if not raw or platform is None:
        return raw
    return canonical_domain(raw, platform.domain_pattern, platform.domain_example, field="domain")


def _check_body(body: bytes) -> None:
    if len(body) > MAX_WEBHOOK_BODY_BYTES:
        raise InvalidRequest.of("body", f"must not exceed {MAX_WEBHOOK_BODY_BYTES} bytes")


def _webhook_headers(request: pb.VerifyWebhookRequest) -> DeliveryHeaders:
    if not request.headers:
        raise InvalidRequest.of("headers", "is required: the headers of the delivery")
    # Before they are read: a request of 4 MiB can have a million.
    if len(request.headers) > MAX_WEBHOOK_HEADERS:
        raise InvalidRequest.of("headers", f"must not be more than {MAX_WEBHOOK_HEADERS}")
    for index, header in enumerate(request.headers):
        if not 0 < len(header.name) <= MAX_HEADER_LENGTH:
            raise InvalidRequest.of(f"headers[{index}].name", f"must have 1 to {MAX_HEADER_LENGTH} characters")
        if len(header.value) > MAX_HEADER_LENGTH:
            raise InvalidRequest.of(f"headers[{index}].value", f"must not exceed {MAX_HEADER_LENGTH} characters")
    return DeliveryHeaders((header.name, header.value) for header in request.headers)


def _domain(raw: str, platform: Platform | None) -> str:
    """Return the canonical domain. Its form can be checked only if the platform is known."""
    if platform is not None:
        return canonical_domain(raw, platform.domain_pattern, platform.domain_example)
    if not raw:
        raise InvalidRequest.of("shop.domain", "is required: the shop's host name")
    return raw


def _updated_after(request: pb.FetchProductsRequest) -> datetime | None:
    return _to_time(request.updated_after) if request.HasField("updated_after") else None


def _to_time(timestamp: Timestamp) -> datetime:
    """Return the time, if platforms accept it: their ranges are narrower than that of a Timestamp."""
    try:
        moment = timestamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        moment = None
    if moment is None or not MIN_UPDATED_AFTER <= moment <= datetime.now(UTC) + MAX_CLOCK_SKEW:
        text = f"must be a time from {MIN_UPDATED_AFTER:%Y-%m-%dT%H:%M:%SZ} until now; omit it to fetch everything"
        raise InvalidRequest.of("updated_after", text)
    return moment


def _max_batch_products(requested: int) -> int:
    if requested < 0:
        raise InvalidRequest.of("max_batch_products", "must not be negative")
    return min(requested or MAX_BATCH_PRODUCTS, MAX_BATCH_PRODUCTS)


def _product_ids(request: pb.FetchProductsRequest) -> tuple[str, ...]:
    if not request.product_ids:
        return ()
    if request.HasField("updated_after") or request.checkpoint:
        raise InvalidRequest.of("product_ids", "must not be combined with updated_after or checkpoint")
    # Before they are read: a request of 4 MiB can have two million.
    if len(request.product_ids) > MAX_PRODUCT_IDS:
        raise InvalidRequest.of("product_ids", f"must not be more than {MAX_PRODUCT_IDS}")
    product_ids = tuple(dict.fromkeys(request.product_ids))
    if not all(0 < len(product_id) <= MAX_PRODUCT_ID_LENGTH for product_id in product_ids):
        raise InvalidRequest.of("product_ids", f"must each have 1 to {MAX_PRODUCT_ID_LENGTH} characters")
    return product_ids


def _check_present(checkpoint: bytes) -> None:
    if not checkpoint:
        raise InvalidRequest.of("checkpoint", "must be the one of the last stored batch")


def _check_size(checkpoint: bytes) -> None:
    if len(checkpoint) > MAX_CHECKPOINT_BYTES:
        raise InvalidRequest.of("checkpoint", f"must not exceed {MAX_CHECKPOINT_BYTES} bytes")
