"""How many watchers a replica accepts, in total and of each shop."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from uuid import UUID

from catalog_svc.domain.errors import TooManyWatchers
from catalog_svc.domain.ids import shop_id_of


class WatcherLimiter:
    """Counts the watchers of a replica, of syncs and of items, and refuses those above a limit."""

    def __init__(self, *, max_watchers: int = sys.maxsize, max_watchers_per_shop: int = sys.maxsize) -> None:
        self._max_watchers = max_watchers
        self._max_watchers_per_shop = max_watchers_per_shop
        self._by_shop: Counter[UUID] = Counter()
        """Shops without watchers have no entry."""
        self.count = 0
        """All watchers, also those of many shops."""

    @property
    def shop_count(self) -> int:
        """Shops that have watchers."""
        return len(self._by_shop)

    @contextmanager
    def place(self, watched_id: UUID | None = None) -> Iterator[None]:
        """Count one watcher of a sync or a shop while the context lasts.

        Args:
            watched_id: The id of the sync or of the shop; None: the watcher is one of many shops.

        Raises:
            TooManyWatchers: The replica or the shop has its maximum.
        """
        if self.count >= self._max_watchers:
            raise TooManyWatchers(self._max_watchers)
        with self._place_of_shop(shop_id_of(watched_id)) if watched_id else nullcontext():
            self.count += 1
            try:
                yield
            finally:
                self.count -= 1

    @contextmanager
    def _place_of_shop(self, shop_id: UUID) -> Iterator[None]:
        if self._by_shop[shop_id] >= self._max_watchers_per_shop:
            raise TooManyWatchers(self._max_watchers_per_shop, of_shop=True)
        self._by_shop[shop_id] += 1
        try:
            yield
        finally:
            self._by_shop[shop_id] -= 1
            if not self._by_shop[shop_id]:
                del self._by_shop[shop_id]
