"""Whether a pass saw everything that the store counts."""

from __future__ import annotations

from datetime import datetime

from connector_svc.domain.errors import SourceCountMismatch
from connector_svc.domain.fetch import End
from connector_svc.domain.shop import Shop
from connector_svc.platforms.woocommerce.client import Params, StoreClient
from connector_svc.platforms.woocommerce.position import Position
from connector_svc.platforms.woocommerce.products import PRODUCTS
from connector_svc.platforms.woocommerce.window import settled_by


class Ending:
    """Compares the distinct products of a pass with the store's count, and looks once more when they are fewer."""

    def __init__(self, client: StoreClient, shop: Shop, window: Params, watermark: datetime) -> None:
        self._client = client
        self._shop = shop
        self._window = window
        self._watermark = watermark
        self._looked_again = False

    async def reached(self, position: Position, *, told: int | None) -> End | None:
        """The end; None: read the tail once more. Raises SourceCountMismatch.

        `told`: what the store counted with the last page. What came up later is for the next pass, whose window
        begins before this one did.
        """
        received = position.counts.emitted + position.counts.set_aside
        if told is not None and received >= told:
            return _end(position, told)
        total = (await self._client.count(PRODUCTS, self._window)).total
        if total is None:
            return _end(position, received, "The store does not tell how many products it has.")
        if received >= total:
            return _end(position, total)
        if not self._looked_again:
            self._looked_again = True
            return None
        # Restored from the trash, or modified into the window, while we were past its place.
        settled = (await self._client.count(PRODUCTS, settled_by(self._window, self._watermark))).total
        if settled is None or received < settled:
            raise SourceCountMismatch(self._shop, expected=total, received=received)
        if self._window:
            # They were touched just now: the next pass reads them, and the sweep of this one lists them.
            return _end(position, settled)
        return _end(position, settled, f"{total - received} products came up while the pass ran.")


def _end(position: Position, source_count: int, *warnings: str) -> End:
    if position.nameless:
        warnings += (f"{position.nameless} products came without an id and were set aside.",)
    counts = position.counts
    return End(
        source_count=source_count,
        emitted_count=counts.emitted,
        set_aside_count=counts.set_aside,
        emitted_item_count=counts.emitted_items,
        warnings=warnings,
    )
