"""Shops of the devstore, read through the connector's own HTTP client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from aiohttp import web
from yarl import URL

from connector_svc.domain.fetch import WaitReporter
from connector_svc.domain.shop import Shop
from connector_svc.http.client import open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.http.dependencies import HttpDependencies, utc_now
from connector_svc.platforms.base import (
    Credentials,
    CredentialsProvider,
    HttpFactory,
    HttpReply,
    Platform,
    RateLimitHeaders,
    Secret,
    ShopHttp,
)
from connector_svc.platforms.registry import create_platforms
from connector_svc.rpc.requests import Platforms
from devstore.catalog.model import Platform as Face
from devstore.catalog.model import Product
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec
from tests import tls
from tests.contract.platforms.harness import ExpectedCatalog, ExpectedItem, PlatformHarness


class PlatformFactory(Protocol):
    """Creates a platform in another way than it is registered."""

    def __call__(
        self, *, http: HttpFactory, credentials: CredentialsProvider, clock: Callable[[], datetime]
    ) -> Platform: ...


@dataclass(frozen=True, slots=True)
class StaticCredentials:
    """Always the same credentials."""

    values: Mapping[str, str]

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        return {name: Secret(value) for name, value in self.values.items()}


@dataclass(slots=True)
class TruncatingHttp:
    """Truncates the next replies to half of their body."""

    inner: HttpFactory
    truncations: int = 0

    def to_shop(
        self,
        shop: Shop,
        *,
        on_wait: WaitReporter | None = None,
        api_host: str = "",
        rate_limit_headers: RateLimitHeaders | None = None,
    ) -> ShopHttp:
        inner = self.inner.to_shop(shop, on_wait=on_wait, api_host=api_host, rate_limit_headers=rate_limit_headers)
        return _TruncatingShopHttp(self, inner)


class _TruncatingShopHttp(ShopHttp):
    def __init__(self, owner: TruncatingHttp, inner: ShopHttp) -> None:
        self._owner = owner
        self._inner = inner

    @property
    def base_url(self) -> URL:
        return self._inner.base_url

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
        reply = await self._inner.request(
            method, path, headers=headers, params=params, body=body, idempotent=idempotent
        )
        if self._owner.truncations <= 0:
            return reply
        self._owner.truncations -= 1
        return replace(reply, body=reply.body[: len(reply.body) // 2])

    def download(self, url: str, *, hosts: Collection[str], max_bytes: int) -> AsyncGenerator[bytes, None]:
        return self._inner.download(url, hosts=hosts, max_bytes=max_bytes)


@dataclass(slots=True)
class FixedResponse:
    """Gives the same answer to every request, or to the next `times`."""

    response: dict[str, object]
    times: int | None
    hang_up: bool = False

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if self.times is not None:
            if self.times <= 0:
                return None
            self.times -= 1
        if self.hang_up and request.transport:
            request.transport.close()
        return web.Response(**self.response)  # type: ignore[arg-type]


@dataclass(slots=True)
class Clock:
    """The store's clock: each reading is a minute later, and never after the reader's own time."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0) - timedelta(hours=6))

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now


class DevstoreHarness(PlatformHarness):
    """One shop of a running devstore."""

    def __init__(
        self,
        spec: ShopSpec,
        store: RunningStore,
        http: HttpFactory,
        clock: Clock,
        make: PlatformFactory | None = None,
    ) -> None:
        self._spec = spec
        self._store = store
        self._clock = clock
        self._http = TruncatingHttp(http)
        keys = StaticCredentials(store.credentials(spec.domain))
        if make is not None:
            self._platform = make(http=self._http, credentials=keys, clock=utc_now)
            return
        platforms = Platforms(create_platforms(http=self._http, credentials=keys, clock=utc_now))
        self._platform = platforms.by_name(spec.platform.value)

    @property
    def shop(self) -> Shop:
        return Shop(self._spec.platform.value, self._spec.domain)

    @property
    def platform(self) -> Platform:
        return self._platform

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(self._spec.credentials.values())

    @property
    def calls(self) -> int:
        return self._store.requests(self._spec.domain).calls

    def expected(self) -> ExpectedCatalog:
        catalog = self._store.catalog(self._spec.domain)
        return ExpectedCatalog(
            currency=self._spec.currency_code,
            titles={str(product.id): product.title for product in self._products() if product.status != "trash"},
            items={
                item.item_id: ExpectedItem(
                    product_id=item.product_id,
                    item_id=item.item_id,
                    sku=item.sku,
                    price=item.price,
                    stock=item.stock,
                )
                for item in catalog.sellable_items()
            },
        )

    def _products(self) -> list[Product]:
        return list(self._store.catalog(self._spec.domain).products())

    def answer(
        self,
        status: int,
        body: str = "",
        *,
        times: int | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        response = {"status": status, "text": body, "content_type": content_type, "headers": headers}
        self._store.add_fault(self._spec.domain, FixedResponse(response, times))

    def hang_up(self) -> None:
        self._store.add_fault(self._spec.domain, FixedResponse({}, None, hang_up=True))

    def truncate_replies(self, times: int) -> None:
        self._http.truncations = times

    def recover(self) -> None:
        self._http.truncations = 0
        self._store.clear_faults(self._spec.domain)

    def change_product(self, product_id: str) -> datetime:
        before = self._clock()
        self._store.catalog(self._spec.domain).update_product(int(product_id), title="Changed")
        return before

    @property
    def shows_replaced_pictures(self) -> bool:
        return self._spec.platform is not Face.FEED

    def replace_picture(self, product_id: str) -> None:
        catalog = self._store.catalog(self._spec.domain)
        product = catalog.product(int(product_id))
        assert product is not None
        catalog.replace_picture(product.images[0].id)

    def delete_product(self, product_id: str) -> None:
        self._store.catalog(self._spec.domain).delete_product(int(product_id))

    def add_product(self) -> str:
        return str(self._store.catalog(self._spec.domain).add_product().id)


@dataclass(frozen=True, kw_only=True, slots=True)
class DevstoreMaker:
    """Starts shops of one platform and version."""

    face: Face
    domain: str
    version: str = "10.3"
    make: PlatformFactory | None = None
    """None: as the registry creates it."""
    feed_format: str = "ndjson"

    def __call__(
        self, *, products: int, scratch: Path, edge_cases: bool = True
    ) -> AbstractAsyncContextManager[PlatformHarness]:
        spec = ShopSpec(
            platform=self.face,
            domain=self.domain,
            products=products,
            edge_cases=edge_cases,
            version=self.version,
            feed_format=self.feed_format,
        )
        return _running(spec, scratch, self.make)


@asynccontextmanager
async def _running(spec: ShopSpec, scratch: Path, make: PlatformFactory | None) -> AsyncIterator[DevstoreHarness]:
    clock = Clock()
    async with serving([spec], tls_dir=scratch, throttle=False, clock=clock) as store:
        if spec.platform is Face.SHOPIFY:
            store.bulk(spec.domain).switches.seconds = 0.0
        config = HttpConfig(
            endpoints=Endpoints.of({spec.domain: store.base_url(spec.domain)}),
            tls=tls.client_context(store.ca_file),
        )
        async with open_http(config, HttpDependencies(sleep=_at_once)) as http:
            yield DevstoreHarness(spec, store, http, clock, make)


async def _at_once(_: timedelta) -> None: ...
