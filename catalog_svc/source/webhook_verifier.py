"""Verification and setup of webhooks by connector_svc, which has the shops' secrets and knows the platforms."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import grpc
from catalogsync.connector.v1 import connector_service_pb2 as pb
from catalogsync.connector.v1.connector_service_pb2_grpc import ConnectorServiceStub
from catalogsync_common.call_context import outgoing_timeout
from catalogsync_common.failure import FieldViolation, InvalidRequest
from catalogsync_common.rpc_spans import ClientCallSpan
from catalogsync_common.status import read_failure_now

from catalog_svc.domain.refresh import VerifiedWebhook, WebhookDelivery
from catalog_svc.domain.shop import ShopKey
from catalog_svc.domain.webhook_health import EnsuredWebhooks
from catalog_svc.source.connector_client import CallCredentials, to_source_failure


class ConnectorWebhooks:
    """A `WebhookVerifier` and a `WebhookSetup` over one channel."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        credentials: CallCredentials,
        timeout: timedelta = timedelta(seconds=3),
        setup_timeout: timedelta = timedelta(minutes=3),
    ) -> None:
        """Create the client.

        Args:
            channel: The channel to connector_svc.
            credentials: Of this service.
            timeout: Of a verification. Platforms wait 5 s for an answer: it leaves time to answer them.
            setup_timeout: Of a setup; longer than connector_svc itself waits for a platform.
        """
        self._stub = ConnectorServiceStub(channel)
        self._credentials = credentials
        self._timeout = timeout.total_seconds()
        self._setup_timeout = setup_timeout.total_seconds()

    async def verify(self, delivery: WebhookDelivery) -> VerifiedWebhook:
        """Return which products of which shop a delivery concerns.

        Raises:
            InvalidRequest: The platform sends no webhooks, or has no such domain.
            SourceFailed: The delivery is not signed by its shop, is malformed, or cannot be verified now.
        """
        request = pb.VerifyWebhookRequest(
            platform=delivery.platform,
            body=delivery.body,
            headers=[pb.WebhookHeader(name=name, value=value) for name, value in delivery.headers],
            domain=delivery.domain,
        )
        try:
            with ClientCallSpan(request) as span:
                response = await self._stub.VerifyWebhook(
                    request, timeout=outgoing_timeout(self._timeout), metadata=self._credentials.metadata(span)
                )
        except grpc.aio.AioRpcError as error:
            if violations := _violations(error):
                raise InvalidRequest(*violations) from error
            raise await to_source_failure(error) from error
        return _to_webhook(response)

    async def ensure(self, shop: ShopKey, address: str) -> EnsuredWebhooks:
        """Create and enable the webhooks of the shop at `address`.

        Raises:
            SourceFailed: The connector or the platform did not do it.
        """
        request = pb.EnsureWebhooksRequest(
            shop=pb.ShopRef(platform=shop.platform, domain=shop.domain), address=address
        )
        try:
            with ClientCallSpan(request) as span:
                response = await self._stub.EnsureWebhooks(
                    request, timeout=self._setup_timeout, metadata=self._credentials.metadata(span)
                )
        except grpc.aio.AioRpcError as error:
            raise await to_source_failure(error) from error
        active = sum(each.state == pb.WebhookSubscription.STATE_ACTIVE for each in response.webhooks)
        return EnsuredWebhooks(
            active=active,
            inactive=len(response.webhooks) - active,
            repaired=sum(each.changed for each in response.webhooks),
        )


def _violations(error: grpc.aio.AioRpcError) -> list[FieldViolation]:
    """Return the invalid fields by their names in the request of IngestWebhook."""
    names = {"domain": "shop.domain"}
    return [replace(each, field=names.get(each.field, each.field)) for each in read_failure_now(error).violations]


def _to_webhook(response: pb.VerifyWebhookResponse) -> VerifiedWebhook:
    has_products = response.kind == pb.VerifyWebhookResponse.KIND_PRODUCTS
    return VerifiedWebhook(
        shop=ShopKey(response.shop.platform, response.shop.domain) if response.shop.domain else None,
        is_ping=response.kind == pb.VerifyWebhookResponse.KIND_PING,
        topic=response.topic,
        product_ids=tuple(response.product_ids) if has_products else (),
        variant_ids=tuple(response.variant_ids) if has_products else (),
    )
