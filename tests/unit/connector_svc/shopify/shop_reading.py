"""Runs the platform against a fake shop through the real HTTP client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from connector_svc.domain.fetch import Batch, End, FetchEvent, FetchRequest, Header, Wait
from connector_svc.domain.product import Product
from connector_svc.domain.records import RecordIssue
from connector_svc.domain.shop import Shop
from connector_svc.http.client import open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.http.response_body import BodyLimits
from connector_svc.http.retry import RetryPolicy
from connector_svc.platforms.base import Credentials, Secret
from connector_svc.platforms.shopify import ShopifyPlatform
from connector_svc.platforms.shopify.read_strategy import ReadStrategy
from tests import tls
from tests.unit.connector_svc.shopify.fake_admin import DOMAIN, FakeAdmin, serving

SHOP = Shop("shopify", DOMAIN)


class Tokens:
    """Provides the first token until it is refused, then the next."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = tokens
        self.refused_credentials: list[Credentials | None] = []

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        self.refused_credentials.append(refused)
        refusals = sum(1 for one in self.refused_credentials if one is not None)
        return {"access_token": Secret(self._tokens[min(refusals, len(self._tokens) - 1)])}


@dataclass
class PassResult:
    """The events that a pass yielded."""

    events: list[FetchEvent] = field(default_factory=list)

    @property
    def header(self) -> Header:
        event = self.events[0]
        assert isinstance(event, Header)
        return event

    @property
    def batches(self) -> list[Batch]:
        return [event for event in self.events if isinstance(event, Batch)]

    @property
    def end(self) -> End:
        event = self.events[-1]
        assert isinstance(event, End)
        return event

    @property
    def products(self) -> list[Product]:
        return [product for batch in self.batches for product in batch.products]

    @property
    def ids(self) -> list[str]:
        return [product.id for product in self.products]

    @property
    def issues(self) -> list[RecordIssue]:
        return [issue for batch in self.batches for issue in batch.issues]


@dataclass
class ConnectedShop:
    """The platform, connected to a fake shop."""

    admin: FakeAdmin
    platform: ShopifyPlatform
    tokens: Tokens
    waits: list[Wait] = field(default_factory=list)

    async def read(
        self, *, checkpoint: bytes = b"", batch: int = 250, after: datetime | None = None
    ) -> PassResult:
        """Run a pass to its end."""
        result = PassResult()
        request = FetchRequest(shop=SHOP, checkpoint=checkpoint, max_batch_products=batch, updated_after=after)
        async with aclosing(self.platform.fetch(request, on_wait=self.waits.append)) as events:
            async for event in events:
                result.events.append(event)
        return result


@asynccontextmanager
async def reading(
    admin: FakeAdmin,
    tokens: Sequence[str] = ("right",),
    *,
    max_body: int = 200_000,
    strategy: ReadStrategy = ReadStrategy.AUTO,
) -> AsyncIterator[ConnectedShop]:
    """Connect the platform to a fake shop."""
    async with serving(admin) as url:
        config = HttpConfig(
            endpoints=Endpoints.of({DOMAIN: url}),
            tls=tls.client_context(),
            body=BodyLimits(max_bytes=max_body),
            retry=RetryPolicy(attempts=2, first_delay=timedelta(milliseconds=1)),
        )
        async with open_http(config) as http:
            provider = Tokens(*tokens)
            platform = ShopifyPlatform(
                http,
                provider,
                lambda: datetime.now(UTC),
                retry_delay=timedelta(milliseconds=2),
                strategy=strategy,
            )
            yield ConnectedShop(admin, platform, provider)
