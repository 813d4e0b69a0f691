"""A fake of the `Platforms` port: the platforms of a connector, in memory."""

from __future__ import annotations

from dataclasses import dataclass

from catalog_svc.domain.errors import ConnectorUnavailable
from catalog_svc.domain.shop import PlatformInfo

SHOPIFY = PlatformInfo(name="shopify", domain_pattern=r"[a-z0-9-]+\.myshopify\.com", incremental=True)
WOOCOMMERCE = PlatformInfo(name="woocommerce", domain_pattern=r".+", incremental=True)


@dataclass(slots=True)
class KnownPlatforms:
    """The `Platforms` port with a fixed list."""

    platforms: tuple[PlatformInfo, ...] = (SHOPIFY, WOOCOMMERCE)
    answers: bool = True
    """False: the connector is unavailable."""

    async def find(self, name: str) -> PlatformInfo | None:
        """Return the platform of that name; None: not supported."""
        return next((platform for platform in self._answer() if platform.name == name), None)

    async def names(self) -> list[str]:
        """Return the names of all platforms, in order."""
        return sorted(platform.name for platform in self._answer())

    def _answer(self) -> tuple[PlatformInfo, ...]:
        if not self.answers:
            raise ConnectorUnavailable
        return self.platforms
