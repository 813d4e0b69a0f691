"""Ids that are remembered until they expire: used hand-over tokens, ended sessions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from catalogsync_bff.signed_claims import utc_now


class ExpiringSet:
    """A bounded set of ids, each with the time at which it is forgotten. Of one process, in memory."""

    def __init__(self, max_size: int, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._max_size = max_size
        self._clock = clock
        self._expiry: dict[str, datetime] = {}

    def __len__(self) -> int:
        return len(self._expiry)

    def __contains__(self, identifier: str) -> bool:
        return identifier in self._expiry

    def add(self, identifier: str, expires_at: datetime) -> bool:
        """Remember an id and return True; False: the set is full of ids that have not expired."""
        if identifier not in self._expiry and len(self._expiry) >= self._max_size:
            self.purge()
            if len(self._expiry) >= self._max_size:
                return False
        self._expiry[identifier] = expires_at
        return True

    def purge(self) -> None:
        """Forget what has expired."""
        now = self._clock()
        self._expiry = {identifier: at for identifier, at in self._expiry.items() if at > now}
