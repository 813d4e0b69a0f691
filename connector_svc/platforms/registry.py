"""Which platforms there are. To add one: write its folder, then add its class to PLATFORMS."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

from connector_svc.platforms.base import CredentialsProvider, HttpFactory, Platform
from connector_svc.platforms.lookup import Platforms
from connector_svc.platforms.shopify import ShopifyPlatform
from connector_svc.platforms.woocommerce import WooCommercePlatform


class PlatformMaker(Protocol):
    """Makes the one reader of a platform that serves all its shops."""

    def __call__(
        self, *, http: HttpFactory, credentials: CredentialsProvider, clock: Callable[[], datetime]
    ) -> Platform: ...


PLATFORMS: Final[tuple[PlatformMaker, ...]] = (
    ShopifyPlatform,
    WooCommercePlatform,
)


def registered_platforms(
    *, http: HttpFactory, credentials: CredentialsProvider, clock: Callable[[], datetime]
) -> Platforms:
    """All of them, with the same surroundings."""
    return Platforms(make(http=http, credentials=credentials, clock=clock) for make in PLATFORMS)
