"""Remembers the image addresses of listed items, so that a page of items needs one call of the catalog."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

AddressKey: TypeAlias = tuple[str, str, str, str]
"""Subject, shop, "items" or "products", and id: what one merchant has listed, another one cannot see."""

_MAX_ENTRIES: Final = 20_000
_LIFETIME_SECONDS: Final = 300.0


class ImageAddresses:
    """Addresses by who has listed them.

    Args:
        max_entries: the oldest are forgotten.
        monotonic: the clock, in seconds.
    """

    def __init__(
        self, max_entries: int = _MAX_ENTRIES, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_entries = max_entries
        self._monotonic = monotonic
        self._entries: OrderedDict[AddressKey, tuple[float, str]] = OrderedDict()

    def remember(self, entries: Iterable[tuple[AddressKey, str]]) -> None:
        """Remember addresses, "" for records without an image."""
        now = self._monotonic()
        for key, url in entries:
            self._entries[key] = (now, url)
            self._entries.move_to_end(key)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def get(self, key: AddressKey) -> str | None:
        """Return an address; None: it is not known, or not any more."""
        at, url = self._entries.get(key, (float("-inf"), ""))
        return url if self._monotonic() - at < _LIFETIME_SECONDS else None
