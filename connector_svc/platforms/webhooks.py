"""What the webhooks of several platforms need: a port to create them, their secrets, HMAC signatures, and ids."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Protocol, TypeVar, runtime_checkable

import msgspec

from connector_svc.domain.shop import Shop
from connector_svc.domain.webhook import InvalidBody, WebhookSubscription
from connector_svc.platforms.base import Credentials, Secret

MAX_LISTED: Final = 1_000
"""Webhooks of a shop that are read when they are listed."""
MAX_SECRETS: Final = 2
"""Webhook secrets of a shop at one time: the current one, and the next or the last one during a rotation."""
SECRET_NAMES: Final = tuple(f"webhook_secrets[{index}]" for index in range(MAX_SECRETS))
"""The names of the webhook secrets in `Credentials`."""

Id = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
"""An id as platforms write it in JSON."""

BodyT = TypeVar("BodyT")


@runtime_checkable
class WebhookRegistrar(Protocol):
    """A platform whose shops' webhooks can be listed and created."""

    async def webhooks(self, shop: Shop) -> tuple[WebhookSubscription, ...]:
        """Return our webhooks, and a missing one for each topic that has none. Raises SourceFailure."""
        ...

    async def ensure_webhooks(self, shop: Shop, address: str, secret: Secret) -> tuple[WebhookSubscription, ...]:
        """Create what is missing at `address`, enable what is disabled there, and return the webhooks there.

        Args:
            shop: The shop.
            address: The URL to which deliveries are sent; webhooks with another one are not changed.
            secret: Signs the deliveries, on platforms where each webhook has a secret of its own.

        Raises:
            SourceFailure: The platform did not do it. What was created so far remains.
        """
        ...


def webhook_secrets(credentials: Credentials, more: Iterable[str] = ()) -> tuple[Secret, ...]:
    """Return the webhook secrets of a shop.

    Args:
        credentials: All credentials of the shop.
        more: The names of other credentials that sign webhooks.
    """
    return tuple(credentials[name] for name in (*SECRET_NAMES, *more) if name in credentials)


def named_webhook_secrets(values: Sequence[str]) -> Credentials:
    """Return webhook secrets as credentials. Raises ValueError if there are none, too many or an empty one."""
    stripped = [value.strip() for value in values]
    if not 1 <= len(stripped) <= MAX_SECRETS or not all(stripped):
        raise ValueError(f"must be a list of one secret, or of {MAX_SECRETS} during a rotation")
    return dict(zip(SECRET_NAMES, map(Secret, stripped), strict=False))


def is_hmac_of(signature: str, body: bytes, key: str) -> bool:
    """Return whether `signature` is the base64 of the HMAC-SHA256 of `body` with `key`, in constant time."""
    expected = base64.b64encode(hmac.digest(key.encode(), body, "sha256"))
    return hmac.compare_digest(expected, signature.encode())


def decode_body(body: bytes, decoder: msgspec.json.Decoder[BodyT]) -> BodyT:
    """Decode the JSON of a verified body. Raises InvalidBody, whose message quotes nothing of the body."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError:
        raise InvalidBody("a field that must be an id is none, or is missing") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidBody("it is not JSON") from None
