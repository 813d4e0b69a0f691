"""Registry of all platforms. To add one: write its package, then add its definition to PLATFORMS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import Final

from connector_svc.platforms.base import (
    CredentialsProvider,
    HttpFactory,
    Platform,
    PlatformDefinition,
    PlatformDependencies,
    QueryPointMeter,
    UncountedPoints,
)
from connector_svc.platforms.bigcommerce import BIGCOMMERCE
from connector_svc.platforms.feed import FEED
from connector_svc.platforms.shopify import SHOPIFY
from connector_svc.platforms.woocommerce import WOOCOMMERCE

PLATFORMS: Final[tuple[PlatformDefinition, ...]] = (
    SHOPIFY,
    WOOCOMMERCE,
    BIGCOMMERCE,
    FEED,
)

_NO_OPTIONS: Final[Mapping[str, Enum]] = MappingProxyType({})


def create_platforms(
    *,
    http: HttpFactory,
    credentials: CredentialsProvider,
    clock: Callable[[], datetime],
    connections_per_host: int = 8,
    options: Mapping[str, Mapping[str, Enum]] = MappingProxyType({}),
    query_points: Callable[[str], QueryPointMeter] = lambda platform: UncountedPoints(),
) -> tuple[Platform, ...]:
    """Create all registered platforms.

    Args:
        http: Opens HTTP to shops.
        credentials: Provides their credentials.
        clock: Returns the time, in UTC.
        connections_per_host: How many connections `http` allows to one shop.
        options: The operator's choices, by name of the platform and name of the option.
        query_points: Returns what counts the points of a platform that limits calls by their cost.
    """
    return tuple(
        platform.create(
            PlatformDependencies(
                http=http,
                credentials=credentials,
                clock=clock,
                connections_per_host=connections_per_host,
                options=options.get(platform.name, _NO_OPTIONS),
                query_points=query_points(platform.name),
            )
        )
        for platform in PLATFORMS
    )
