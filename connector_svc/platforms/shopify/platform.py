"""The Shopify platform of the connector."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime, timedelta

from connector_svc.domain.checkpoint import decode_checkpoint
from connector_svc.domain.errors import CheckpointExpired
from connector_svc.domain.fetch import FetchEvent, FetchRequest, Wait, WaitReporter
from connector_svc.domain.shop import Shop, ShopInfo
from connector_svc.domain.webhook import WebhookSubscription
from connector_svc.platforms.base import Capabilities, CredentialsProvider, HttpFactory, QueryPointMeter, Secret
from connector_svc.platforms.shopify.bulk_jobs import BulkJobs
from connector_svc.platforms.shopify.client import ShopifyClient
from connector_svc.platforms.shopify.pass_start import read_pass_start
from connector_svc.platforms.shopify.position import FINGERPRINT, Position
from connector_svc.platforms.shopify.read_strategy import BulkPolicy, ReadStrategy
from connector_svc.platforms.shopify.reader import Reader
from connector_svc.platforms.shopify.webhook_registrar import SubscriptionStore


class ShopifyPlatform:
    """Reads Shopify shops by pages, by ids or by bulk operations; see `Platform` for the contract.

    Credentials: {"access_token": ...} with the scope read_products. Product and variant ids are the numbers at the
    end of Shopify's gids.
    """

    name = "shopify"
    display_name = "Shopify"
    domain_pattern = r"[a-z0-9][a-z0-9-]{0,62}\.myshopify\.com"
    domain_example = "demo.myshopify.com"
    capabilities = Capabilities(incremental=True, bulk=True, deletions=True)

    def __init__(
        self,
        http: HttpFactory,
        credentials: CredentialsProvider,
        clock: Callable[[], datetime],
        *,
        retry_delay: timedelta = timedelta(seconds=1),
        bulk_policy: BulkPolicy | None = None,
        strategy: ReadStrategy = ReadStrategy.AUTO,
        query_points: QueryPointMeter | None = None,
    ) -> None:
        """`retry_delay`: the wait before Shopify is asked again for what it failed to deliver."""
        self._http = http
        self._credentials = credentials
        self._clock = clock
        self._retry_delay = retry_delay
        self._bulk_policy = bulk_policy or BulkPolicy()
        self._strategy = strategy
        self._query_points = query_points

    async def check(self, shop: Shop) -> ShopInfo:
        """Read scopes, currency, counts and the API version that answers, by one call. Raises SourceFailure."""
        return (await read_pass_start(self._client(shop, _ignore))).shop_info

    async def fetch(self, request: FetchRequest, *, on_wait: WaitReporter) -> AsyncGenerator[FetchEvent, None]:
        """See `Platform.fetch`.

        Memory holds at most two pages of products, the one being consumed and the next, or four hydrated pages.
        """
        client = self._client(request.shop, on_wait)
        reader = Reader(
            request,
            client,
            clock=self._clock,
            on_wait=on_wait,
            retry_delay=self._retry_delay,
            bulk_policy=self._bulk_policy,
            strategy=self._strategy,
        )
        async with aclosing(reader.events()) as events:
            async for event in events:
                yield event

    async def cancel_job(self, shop: Shop, checkpoint: bytes) -> bool:
        """Cancel the bulk job that the checkpoint names and no other one; see `Platform.cancel_job`."""
        request = FetchRequest(shop=shop, checkpoint=checkpoint)
        try:
            position = decode_checkpoint(request, fingerprint=FINGERPRINT, position_type=Position)
        except CheckpointExpired:
            return False
        if position is None or not position.bulk_job_id:
            return False
        return await BulkJobs(self._client(shop, _ignore), self._bulk_policy).cancel(position.bulk_job_id)

    async def webhooks(self, shop: Shop) -> tuple[WebhookSubscription, ...]:
        """See `WebhookRegistrar.webhooks`."""
        return await SubscriptionStore(self._client(shop, _ignore)).list_own()

    async def ensure_webhooks(self, shop: Shop, address: str, secret: Secret) -> tuple[WebhookSubscription, ...]:
        """See `WebhookRegistrar.ensure_webhooks`; the secret is that of the app, which Shopify knows."""
        return await SubscriptionStore(self._client(shop, _ignore)).ensure(address)

    def _client(self, shop: Shop, on_wait: WaitReporter) -> ShopifyClient:
        return ShopifyClient(
            shop,
            http=self._http.to_shop(shop, on_wait=on_wait),
            credentials=self._credentials,
            clock=self._clock,
            on_wait=on_wait,
            retry_delay=self._retry_delay / 4,
            query_points=self._query_points,
        )


def _ignore(wait: Wait) -> None:
    """Discard waits of calls that nobody follows."""
