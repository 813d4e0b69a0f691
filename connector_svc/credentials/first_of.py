"""Several providers as one."""

from __future__ import annotations

from connector_svc.domain.errors import CredentialsNotFound
from connector_svc.domain.shop import Shop
from connector_svc.platforms.base import Credentials, CredentialsProvider


class FirstOf:
    """Asks each provider in turn, until one knows the shop. A provider that is down ends the search."""

    def __init__(self, *providers: CredentialsProvider) -> None:
        self._providers = providers

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        """See `CredentialsProvider`. Raises CredentialsNotFound when none knows the shop."""
        for provider in self._providers:
            try:
                return await provider.credentials(shop, refused=refused)
            except CredentialsNotFound:
                continue
        raise CredentialsNotFound(shop)
