"""Webhook deliveries: what a platform sent, and what a verified delivery says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from catalogsync_common.failure import Failure

from connector_svc.domain.shop import Shop


class WebhookSignatureInvalid(Failure):
    """The delivery is not signed with a webhook secret of the shop that it names; the log says why.

    All causes have one message: a caller cannot find out which shops exist or have a secret.
    """

    reason = "WEBHOOK_SIGNATURE_INVALID"

    def __init__(self, platform: str) -> None:
        super().__init__(
            "The webhook delivery is not signed with a webhook secret of its shop. "
            "Check the shop's webhook_secrets in the credentials.",
            metadata={"platform": platform},
        )


class WebhookBodyInvalid(Failure):
    """The delivery is signed, and its body is not one that the platform sends."""

    reason = "WEBHOOK_BODY_INVALID"

    def __init__(self, shop: Shop, detail: str) -> None:
        super().__init__(
            f"{shop}: The webhook delivery is signed, but its body cannot be used ({detail}).",
            metadata={"platform": shop.platform, "domain": shop.domain},
        )


class DeliveryRejected(Exception):
    """A delivery cannot be verified; the message is for the log and quotes nothing of the delivery."""


class InvalidBody(ValueError):
    """The body of a verified delivery is not one that the platform sends; the message quotes nothing of it."""


class DeliveryHeaders:
    """The headers of a delivery, looked up without regard to case."""

    def __init__(self, headers: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in headers:
            self._values.setdefault(name.lower(), []).append(value)

    def get(self, name: str) -> str:
        """Return the value of a header, "" if it is absent. Raises DeliveryRejected if there are several."""
        values = self._values.get(name.lower(), [""])
        if len(values) > 1:
            raise DeliveryRejected(f"the header {name} is repeated")
        return values[0]

    def has_any(self, prefix: str) -> bool:
        """Return whether there is a header whose name begins with `prefix`."""
        return any(name.startswith(prefix.lower()) for name in self._values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A delivery as it was received; nothing of it has been verified."""

    headers: DeliveryHeaders
    body: bytes
    """Byte for byte."""
    domain: str = ""
    """The canonical domain of the shop to whose address the delivery was sent; empty if it is not known."""


class WebhookKind(Enum):
    """What a delivery is."""

    PRODUCTS = "PRODUCTS"
    """It names products or variants to read again."""
    PING = "PING"
    """The platform tries the address; it may be unsigned."""
    IGNORED = "IGNORED"
    """It concerns no product."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookContent:
    """What a delivery says."""

    kind: WebhookKind
    topic: str = ""
    """As the platform names it."""
    product_ids: tuple[str, ...] = ()
    variant_ids: tuple[str, ...] = ()
    """Of variants whose product the delivery does not name. An id that may be of either is in both."""
    delivery_id: str = ""
    """As the platform names the delivery; need not be unique."""
    triggered_at: datetime | None = None
    """UTC; when the event happened according to the platform."""
    warning: str = ""
    """What the operator has to repair in the shop, for the log."""


class WebhookState(Enum):
    """Whether a webhook works."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"
    """The platform disabled it after failures, or a user did."""
    MISSING = "MISSING"


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookSubscription:
    """A webhook that the platform sends, or should send."""

    topic: str
    """As the platform names it."""
    state: WebhookState
    id: str = ""
    """The platform's id; empty if it is missing."""
    address: str = ""
    changed: bool = False
    """Whether it was created or changed just now."""

    @classmethod
    def missing(cls, topic: str) -> WebhookSubscription:
        """Return the entry for a topic without a webhook."""
        return cls(topic=topic, state=WebhookState.MISSING)


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifiedWebhook:
    """The content of a delivery, and the shop that signed it."""

    shop: Shop | None
    """None: an unsigned ping to an address that names no shop."""
    content: WebhookContent
