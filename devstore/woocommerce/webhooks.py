"""The webhooks of a WooCommerce shop: their REST resource, what fires, and the deliveries.

As measured with 8.2.2 and 10.5.0; tests/data/woocommerce_webhooks/README.md says how.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from devstore.catalog.catalog import Catalog
from devstore.catalog.change import Change
from devstore.webhooks.sender import DeliveryPolicy, Message, QueuedDelivery, WebhookSender
from devstore.woocommerce.errors import RestError, invalid_product
from devstore.woocommerce.json_fields import Json, links
from devstore.woocommerce.product_json import product_json, variation_as_product
from devstore.woocommerce.webhook_topics import fired_topics, parse_topic

DELIVERY_POLICY: Final = DeliveryPolicy(concurrency=1, timeout_seconds=60, highest_success=302)
"""One after the other, without retries."""
PING_TOPIC: Final = "ping"
_MAX_FAILURES: Final = 6
"""The next failure in a row disables the webhook."""
_STATUSES: Final = ("active", "paused", "disabled")
_USER_AGENTS: Final = {
    "8.2": "WooCommerce/8.2.2 Hookshot (WordPress/6.4.1)",
    "10.3": "WooCommerce/10.3.5 Hookshot (WordPress/6.8.3)",
}


@dataclass(slots=True, kw_only=True)
class Webhook:
    """A webhook; its fields are those of the REST resource, except the last four."""

    id: int
    name: str
    status: str
    topic: str
    delivery_url: str
    created: datetime
    modified: datetime
    secret: str
    """Stored; no reply shows it."""
    site: str
    """The base URL of the request that created it, for the links of bodies."""
    failure_count: int = 0
    """In a row; set to 0 by a success, not by enabling the webhook again."""
    owes_ping: bool = True

    def to_json(self) -> Json:
        """Return the REST resource."""
        resource, _, event = self.topic.partition(".")
        base = f"{self.site}/wp-json/wc/v3/webhooks"
        return {
            "id": self.id,
            "name": self.name,
            "status": self.status,
            "topic": self.topic,
            "resource": resource,
            "event": event,
            "hooks": [event] if resource == "action" else [f"woocommerce_{resource}_{event}"],
            "delivery_url": self.delivery_url,
            **{
                f"date_{name}{suffix}": moment.strftime("%Y-%m-%dT%H:%M:%S")
                for name, moment in (("created", self.created), ("modified", self.modified))
                for suffix in ("", "_gmt")
            },
            "_links": links(("self", f"{base}/{self.id}"), ("collection", base)),
        }


class WooWebhooks:
    """All webhooks of a shop."""

    def __init__(
        self, catalog: Catalog, sender: WebhookSender, clock: Callable[[], datetime], *, home: Callable[[], str]
    ) -> None:
        """Create the webhooks; `home` returns the shop's own address, which deliveries name."""
        self._catalog = catalog
        self._sender = sender
        self._clock = clock
        self._home = home
        self._webhooks: dict[int, Webhook] = {}
        self._ids = itertools.count(1)
        self._pings_due: list[Webhook] = []

    # -- the REST resource

    def list(self, status: str = "all") -> list[Json]:
        """Return the webhooks with a status, the youngest first."""
        found = (one for one in self._webhooks.values() if status in ("all", one.status))
        return [one.to_json() for one in reversed([*found])]

    def get(self, webhook_id: int) -> Webhook:
        """Return a webhook. Raises RestError."""
        webhook = self._webhooks.get(webhook_id)
        if webhook is None:
            raise RestError(404, "woocommerce_rest_shop_webhook_invalid_id", "Invalid ID.")
        return webhook

    def create(self, fields: Mapping[str, object], site: str) -> Webhook:
        """Create a webhook, which owes a ping. Raises RestError."""
        topic, url = parse_topic(fields), _delivery_url(fields)
        now = self._clock()
        webhook = Webhook(
            id=next(self._ids),
            name=str(fields.get("name") or f"Webhook created on {now:%b %d, %Y @ %I:%M %p}"),
            status=_status(fields, "active"),
            topic=topic,
            delivery_url=url,
            created=now,
            modified=now,
            secret=str(fields.get("secret") or _random_secret()),
            site=site,
        )
        self._webhooks[webhook.id] = webhook
        self._pings_due.append(webhook)
        return webhook

    def update(self, webhook_id: int, fields: Mapping[str, object]) -> Webhook:
        """Change the given fields. Raises RestError."""
        webhook = self.get(webhook_id)
        webhook.status = _status(fields, webhook.status)
        webhook.topic = parse_topic(fields) if "topic" in fields else webhook.topic
        webhook.delivery_url = _delivery_url(fields) if "delivery_url" in fields else webhook.delivery_url
        webhook.name = str(fields.get("name", webhook.name))
        webhook.secret = str(fields.get("secret") or webhook.secret)
        webhook.modified = self._clock()
        if webhook.owes_ping:
            self._pings_due.append(webhook)
        return webhook

    def delete(self, webhook_id: int) -> Webhook:
        """Delete a webhook; what waits for it is not sent. Raises RestError."""
        webhook = self.get(webhook_id)
        del self._webhooks[webhook_id]
        return webhook

    async def send_due_pings(self) -> None:
        """Send the pings of webhooks that were saved; a request that saves one is answered after its ping."""
        while self._pings_due:
            await self._ping(self._pings_due.pop(0))

    # -- deliveries

    def notify(self, change: Change) -> None:
        """Queue a delivery for each active webhook of each topic that the change fires."""
        for topic, argument in fired_topics(change):
            for webhook in reversed([*self._webhooks.values()]):
                if webhook.topic == topic and webhook.status == "active":
                    self._enqueue(webhook, topic, argument)

    def _enqueue(self, webhook: Webhook, topic: str, argument: int | None) -> None:
        def prepare() -> Message | None:
            # Paused and disabled webhooks deliver what waits already; deleted ones do not.
            return self._message(webhook, topic, argument) if webhook.id in self._webhooks else None

        def record(succeeded: bool) -> None:
            self._record(webhook, succeeded)
            if webhook.owes_ping:
                self._enqueue_ping(webhook)

        self._sender.enqueue(
            QueuedDelivery(
                topic=topic,
                url=webhook.delivery_url,
                prepare=prepare,
                on_result=record,
                key=(webhook.id, topic, argument),
            )
        )

    def _record(self, webhook: Webhook, succeeded: bool) -> None:
        if succeeded:
            webhook.failure_count = 0
        elif webhook.failure_count < _MAX_FAILURES:
            webhook.failure_count += 1
        else:
            webhook.status = "disabled"

    def _enqueue_ping(self, webhook: Webhook) -> None:
        async def send() -> None:
            await self._ping(webhook)

        self._sender.run(send())

    async def _ping(self, webhook: Webhook) -> None:
        message = Message(
            headers={
                **self._common_headers(),
                "Connection": "close",
                "Content-Type": "application/x-www-form-urlencoded",
            },
            body=f"webhook_id={webhook.id}".encode(),
        )
        status = await self._sender.post(PING_TOPIC, webhook.delivery_url, message)
        webhook.owes_ping = status != 200

    def _message(self, webhook: Webhook, topic: str, argument: int | None) -> Message:
        body = php_json(self._body(webhook, topic, argument)).encode()
        resource, _, event = topic.partition(".")
        second = int(self._clock().timestamp())
        headers = {
            **self._common_headers(),
            "Content-Type": "application/json",
            "X-WC-Webhook-Source": f"{self._home()}/",
            "X-WC-Webhook-Topic": topic,
            "X-WC-Webhook-Resource": resource,
            "X-WC-Webhook-Event": event,
            "X-WC-Webhook-Signature": sign(body, webhook.secret),
            "X-WC-Webhook-ID": str(webhook.id),
            # The same for all deliveries of the webhook within one second.
            "X-WC-Webhook-Delivery-ID": hashlib.md5(f"{webhook.id}{second}".encode()).hexdigest(),
            "Connection": "close",
        }
        return Message(headers=headers, body=body)

    def _common_headers(self) -> dict[str, str]:
        return {
            "User-Agent": _USER_AGENTS[self._catalog.spec.version],
            "Accept": "*/*",
            "Accept-Encoding": "deflate, gzip, br, zstd",
        }

    def _body(self, webhook: Webhook, topic: str, argument: int | None) -> Json:
        """Return the body as it is now, which may be the error of a product that was deleted meanwhile."""
        if topic.startswith("action."):
            return {"action": topic.removeprefix("action."), "arg": [] if argument is None else argument}
        assert argument is not None
        if topic == "product.deleted":
            return {"id": argument}
        product = self._catalog.product(argument)
        if product is not None:
            return product_json(self._catalog, product, webhook.site)
        found = self._catalog.variant(argument)
        if found is not None:
            return variation_as_product(self._catalog, *found, webhook.site)
        return invalid_product().body


def sign(body: bytes, secret: str) -> str:
    """Return the signature; entities of the secret are decoded before."""
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#039;", "'"), ("&amp;", "&")):
        secret = secret.replace(entity, character)
    return base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()


def php_json(value: object) -> str:
    """Return JSON as PHP writes it: with slashes and everything that is not ASCII escaped."""
    return json.dumps(value, separators=(",", ":")).replace("/", "\\/")


def _delivery_url(fields: Mapping[str, object]) -> str:
    url = fields.get("delivery_url")
    if isinstance(url, str) and url.startswith(("http://", "https://")):
        return url
    text = "Webhook delivery URL must be a valid URL starting with http:// or https://."
    raise RestError(400, "woocommerce_rest_shop_webhook_invalid_delivery_url", text)


def _status(fields: Mapping[str, object], default: str) -> str:
    status = fields.get("status", default)
    if status not in _STATUSES:
        raise RestError(400, "rest_invalid_param", "Invalid parameter(s): status")
    return str(status)


def _random_secret() -> str:
    """Return the secret that the store generates for an empty one; no reply of its API contains it."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(50))
