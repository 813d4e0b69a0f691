"""The ports of a platform: what each implements, what each is given, and how each is declared to the registry."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from yarl import URL

from connector_svc.domain.fetch import FetchEvent, FetchRequest, WaitReporter
from connector_svc.domain.shop import Shop, ShopInfo
from connector_svc.domain.webhook import Delivery, DeliveryHeaders, WebhookContent


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What the connector can do on a platform."""

    incremental: bool
    bulk: bool = False
    deletions: bool = False


class Platform(Protocol):
    """Reads the shops of one platform."""

    @property
    def name(self) -> str:
        """As in requests: "shopify"."""
        ...

    @property
    def display_name(self) -> str:
        """For people: "Shopify"."""
        ...

    @property
    def domain_pattern(self) -> str:
        """An RE2 expression that a canonical domain matches whole."""
        ...

    @property
    def domain_example(self) -> str:
        """A domain that matches, for people: "demo.myshopify.com"."""
        ...

    @property
    def capabilities(self) -> Capabilities: ...

    async def check(self, shop: Shop) -> ShopInfo:
        """Read currency, counts, API version and notes for the operator. Raises SourceFailure."""
        ...

    def fetch(self, request: FetchRequest, *, on_wait: WaitReporter) -> AsyncGenerator[FetchEvent, None]:
        """Read a shop: yield one Header, then Batches, then one End.

        Holds no more than a few pages in memory. A product's variants are in its batch. Every product of the
        platform is in exactly one batch, or in exactly one issue with product_rejected. A record that cannot
        be used is rejected; it never ends the pass.

        Args:
            request: What to read, and from which checkpoint on.
            on_wait: Called with each wait when the wait begins.

        Raises:
            SourceFailure: The shop cannot be read.
        """
        ...

    async def cancel_job(self, shop: Shop, checkpoint: bytes) -> bool:
        """Cancel the job that the platform runs for the pass of `checkpoint`, if there is one and it is ours.

        A pass that is continued nevertheless reads the rest in another way.

        Returns:
            Whether a job was cancelled.

        Raises:
            SourceFailure: The platform could not be asked.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpReply:
    """A whole reply, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Case-insensitive lookup."""
    body: bytes


class ShopHttp(Protocol):
    """HTTP to one shop: resolves its address (or its override), retries, and respects all limits.

    Never follows redirects (SourceRedirected) and never calls a forbidden address (SourceAddressForbidden).
    Transport errors and the statuses 408, 425, 429, 430, 500, 502 to 504, 520 to 527 and 530 are retried with
    backoff and Retry-After; SourceUnreachable or SourceRateLimited is raised once the retries are exhausted. All
    other statuses are returned. A wait for a free connection is reported like every other wait.
    """

    @property
    def base_url(self) -> URL:
        """Scheme, host and port (and path prefix, if overridden) of the shop."""
        ...

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        idempotent: bool = True,
    ) -> HttpReply:
        """Send one request; `path` starts with "/". The query string and headers are never logged.

        Raises:
            SourceFailure: There is no usable reply.
        """
        ...

    def download(self, url: str, *, hosts: Collection[str], max_bytes: int) -> AsyncGenerator[bytes, None]:
        """Yield the file at `url` in chunks, each byte once.

        Sends no credentials and follows no redirect; a broken connection is resumed where it broke. The reader
        must check whether the file is complete: a server may send less than there is.

        Args:
            url: The file's address, which must be on one of `hosts`.
            hosts: The platform's file hosts.
            max_bytes: Maximum size of the file.

        Raises:
            SourceAddressForbidden: The file is on another host.
            SourceResponseInvalid: The file is larger than `max_bytes`, or is not there.
            SourceUnreachable: The retries are exhausted.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class RateLimitHeaders:
    """Names of the headers in which a platform reports its rate limit window, where others send Retry-After."""

    requests_left: str
    reset_milliseconds: str
    """Until the window ends."""


class HttpFactory(Protocol):
    """Opens HTTP to shops."""

    def to_shop(
        self,
        shop: Shop,
        *,
        on_wait: WaitReporter | None = None,
        api_host: str = "",
        rate_limit_headers: RateLimitHeaders | None = None,
    ) -> ShopHttp:
        """Return HTTP to a shop.

        Args:
            shop: Its domain is the host, and the name of its limits in any case.
            on_wait: Called with each wait for a retry, for Retry-After or for a connection.
            api_host: A constant of the platform: the one host at which it serves all its shops, if that is not
                each shop's own domain.
            rate_limit_headers: A constant of the platform: its own headers, if it has any.
        """
        ...


class Secret:
    """A value that neither `str` nor `repr` shows."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def is_sendable(value: str) -> bool:
    """Return whether a secret can be sent in a header: it has no line break and no other control character."""
    return value.isprintable()


Credentials = Mapping[str, Secret]
"""By the platform's own names: {"access_token": ...}, {"consumer_key": ..., "consumer_secret": ...}."""


class CredentialsProvider(Protocol):
    """Provides the credentials of shops."""

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        """Return the shop's credentials.

        Args:
            shop: The shop.
            refused: Credentials that the shop has just rejected; a cache must not return them again.

        Raises:
            CredentialsNotFound: The shop is not known.
            TokenServiceUnavailable: The provider cannot be reached.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class AccessToken:
    """Credentials that a platform granted in exchange for others."""

    credentials: Credentials
    """By the platform's own names: {"access_token": ...}."""
    lifetime: timedelta | None
    """None: it does not expire."""


class TokenExchange(Protocol):
    """Exchanges the stored credentials of an app for an access token that expires, for platforms with OAuth."""

    def applies_to(self, stored: Credentials) -> bool:
        """Return whether an access token can be requested with these credentials."""
        ...

    async def request_token(self, shop: Shop, http: HttpFactory, stored: Credentials) -> AccessToken:
        """Request a new access token. Raises SourceFailure."""
        ...


class WebhookFormat(Protocol):
    """How one platform signs and writes its webhooks."""

    @property
    def signing_credentials(self) -> tuple[str, ...]:
        """The names of other credentials that sign webhooks, in addition to the webhook secrets."""
        ...

    def is_unsigned_ping(self, delivery: Delivery) -> bool:
        """Return whether the delivery is the platform's trial of an address, which it does not sign."""
        ...

    def shop_domain(self, headers: DeliveryHeaders) -> str:
        """Return the shop that the headers name, as they write it; "" for none. Raises DeliveryRejected."""
        ...

    def is_signed(self, delivery: Delivery, secret: Secret) -> bool:
        """Return whether `secret` signed the delivery, in constant time. Raises DeliveryRejected.

        Does not parse the body.
        """
        ...

    def parse(self, delivery: Delivery, shop: Shop) -> WebhookContent:
        """Return what a verified delivery says. Raises InvalidBody, DeliveryRejected."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformOption:
    """An operator's choice for all shops of a platform, in the variable CONNECTOR_<PLATFORM>_<NAME>."""

    name: str
    default: Enum
    """Its class holds all values that the variable may have."""


class QueryPointMeter(Protocol):
    """Counts the points of platforms that limit calls by their cost."""

    def record_points(self, *, used: float, restored: float) -> None:
        """Record points that a call has used, and those that the platform restored in the meantime.

        Points that are restored into a full bucket count as well: they could have been used.
        """
        ...


class UncountedPoints:
    """A `QueryPointMeter` that counts nothing."""

    def record_points(self, *, used: float, restored: float) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformDependencies:
    """What every platform is given."""

    http: HttpFactory
    credentials: CredentialsProvider
    clock: Callable[[], datetime]
    """UTC."""
    connections_per_host: int = 8
    """How many connections `http` allows to one shop."""
    options: Mapping[str, Enum] = field(default_factory=dict)
    """The operator's choices by name of the option; what is absent has its default."""
    query_points: QueryPointMeter = field(default_factory=UncountedPoints)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformDefinition:
    """What the package of a platform declares to the registry."""

    name: str
    create: Callable[[PlatformDependencies], Platform]
    """Creates the one reader that serves all shops of the platform."""
    options: tuple[PlatformOption, ...] = ()
    token_exchange: TokenExchange | None = None
    webhooks: WebhookFormat | None = None
    """None: the platform sends no webhooks."""
