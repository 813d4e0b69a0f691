"""Whether a connector can read a shop at all."""

from __future__ import annotations

import re

from catalogsync_common.failure import InvalidRequest

from catalog_svc.domain.shop import ShopKey
from catalog_svc.usecases.ports import Platforms


async def check_supported(platforms: Platforms, shop: ShopKey) -> None:
    """Check the shop's platform and domain against what the connector supports.

    Raises:
        InvalidRequest: no connector reads this platform, or its shops have other domains.
        ConnectorUnavailable: the connector does not answer.
    """
    platform = await platforms.find(shop.platform)
    if platform is None:
        names = ", ".join(await platforms.names())
        raise InvalidRequest.of("shop.platform", f"{shop.platform!r} is not supported; there are: {names}")
    if not re.fullmatch(platform.domain_pattern, shop.domain):
        raise InvalidRequest.of("shop.domain", f"{shop.domain!r} is no domain of a {platform.name} shop")
