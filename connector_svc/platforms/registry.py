"""Which platforms there are. To add one: write its folder, then add its class to PLATFORMS."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final, Protocol

from connector_svc.platforms.base import CredentialsProvider, HttpFactory, Platform
from connector_svc.platforms.bigcommerce import BigCommercePlatform
from connector_svc.platforms.feed import FeedPlatform
from connector_svc.platforms.shopify import ShopifyPlatform
from connector_svc.platforms.shopify.wanted import Wanted
from connector_svc.platforms.woocommerce import WooCommercePlatform
from connector_svc.platforms.woocommerce.gate import MOST_CALLS
from connector_svc.rpc.requests import Platforms


class PlatformMaker(Protocol):
    """Makes the one reader of a platform that serves all its shops."""

    def __call__(
        self, *, http: HttpFactory, credentials: CredentialsProvider, clock: Callable[[], datetime]
    ) -> Platform: ...


PLATFORMS: Final[tuple[PlatformMaker, ...]] = (
    ShopifyPlatform,
    WooCommercePlatform,
    BigCommercePlatform,
    FeedPlatform,
)


def registered_platforms(
    *,
    http: HttpFactory,
    credentials: CredentialsProvider,
    clock: Callable[[], datetime],
    shopify_strategy: Wanted = Wanted.AUTO,
    connections_per_host: int = MOST_CALLS,
) -> Platforms:
    """All of them, with the same surroundings."""
    told: dict[PlatformMaker, PlatformMaker] = {
        ShopifyPlatform: partial(ShopifyPlatform, wanted=shopify_strategy),
        WooCommercePlatform: partial(WooCommercePlatform, connections_per_host=connections_per_host),
    }
    makers = (told.get(maker, maker) for maker in PLATFORMS)
    return Platforms(make(http=http, credentials=credentials, clock=clock) for make in makers)
