"""The port that every platform implements, and what it is given to do so."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from yarl import URL

from connector_svc.domain.fetch import FetchEvent, FetchRequest, WaitReporter
from connector_svc.domain.shop import Shop, ShopInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a platform's connector can do."""

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
        """One that matches, for people: "demo.myshopify.com"."""
        ...

    @property
    def capabilities(self) -> Capabilities: ...

    async def check(self, shop: Shop) -> ShopInfo:
        """Reads what an operator wants to know first. Raises SourceFailure."""
        ...

    def fetch(self, request: FetchRequest, *, on_wait: WaitReporter) -> AsyncGenerator[FetchEvent, None]:
        """Yields one Header, then Batches, then one End; tells `on_wait` of each wait. Raises SourceFailure.

        Holds no more than a few pages in memory. A product's variants are in its batch. Every product of the
        platform is in exactly one batch, or in exactly one issue with product_rejected. A record that cannot
        be understood is set aside; it never ends the pass.
        """
        ...

    async def cancel_job(self, shop: Shop, checkpoint: bytes) -> bool:
        """Ends the job that the platform runs for the pass of `checkpoint`, if there is one and it is ours.

        Whether one was told to end. Raises SourceFailure. A pass that is continued nevertheless reads the rest in
        another way.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpReply:
    """A whole reply, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Case-insensitive look-up."""
    body: bytes


class ShopHttp(Protocol):
    """HTTP to one shop: knows its address (also an overridden one), retries what may be retried, obeys limits.

    Never follows redirects (SourceRedirected), never calls a forbidden address (SourceAddressForbidden), and
    raises SourceUnreachable or SourceRateLimited once its retries are exhausted: transport faults, 408, 425, 429,
    430, 500, 502 to 504, 520 to 527 and 530 are retried with backoff and Retry-After before that. All other
    statuses are returned. A wait for a free connection is reported like all others.
    """

    @property
    def base_url(self) -> URL:
        """Scheme, host and port (and path prefix, when overridden) of the shop."""
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
        """Sends one request; `path` starts with "/". The query string and headers never reach a log."""
        ...

    def download(self, url: str, *, hosts: Collection[str], max_bytes: int) -> AsyncGenerator[bytes, None]:
        """The file at `url`, which must lie on one of the platform's file `hosts`, in pieces, each byte once.

        Sends no credentials and follows no redirect; a broken connection is taken up where it broke. Whether the
        file is whole is for the reader to find out: a server may send less than there is. Raises
        SourceAddressForbidden for another host, SourceResponseInvalid for more than `max_bytes` and for a file
        that is not there, SourceUnreachable once patience has ended.
        """
        ...


class HttpFactory(Protocol):
    """Opens HTTP to shops."""

    def to_shop(self, shop: Shop, *, on_wait: WaitReporter | None = None, api_host: str = "") -> ShopHttp:
        """HTTP to `shop`; `on_wait` is told when a retry or a Retry-After is waited for.

        `api_host` is a constant of the platform: the one host at which it serves all its shops, if it is not each
        shop's own domain.
        """
        ...


class Secret:
    """A value that shows itself only when asked."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


Credentials = Mapping[str, Secret]
"""By the platform's own names: {"access_token": ...}, {"consumer_key": ..., "consumer_secret": ...}."""


class CredentialsProvider(Protocol):
    """Who gives us a shop's credentials."""

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        """The shop's credentials; `refused` ones are not answered from a cache again.

        Raises CredentialsNotFound, TokenServiceUnavailable.
        """
        ...
