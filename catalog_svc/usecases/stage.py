"""Whose turn it is to be shown news, over all followers on this replica."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from catalog_svc.usecases.audience import Audience
from catalog_svc.usecases.show_pace import ShowPace

_TICK: Final = 0.05
"""Seconds between two rounds while somebody waits for a turn."""
_AT_A_TIME: Final = 50
"""Followers of one sync. Each then sends a message: a few milliseconds for all of these."""


class Stage:
    """Spreads shows evenly over time: few at once, so that other work comes in between, and few per second.

    Thousands who were shown the same news in one go would stop everything else for a fifth of a second, and a
    running sync with it.
    """

    def __init__(self, pace: ShowPace, followers: Callable[[], int]) -> None:
        self._pace = pace
        self._followers = followers
        self._behind: OrderedDict[Audience, None] = OrderedDict()
        """Those that somebody waits in; who had a turn comes last."""
        self._allowance = pace.reserve
        self._counted_at = float("-inf")
        self._next: asyncio.Handle | None = None

    def enter(self, audience: Audience) -> None:
        """Somebody in it is to be shown something."""
        self._behind[audience] = None
        # Few followers need not wait for the next round.
        if self._next is None or audience.final or self._allowance >= 1:
            self._play_after(0)

    def leave(self, audience: Audience) -> None:
        """Nobody is left in it."""
        self._behind.pop(audience, None)

    def _play_after(self, seconds: float) -> None:
        if self._next is not None:
            self._next.cancel()
        loop = asyncio.get_running_loop()
        self._next = loop.call_later(seconds, self._play) if seconds else loop.call_soon(self._play)

    def _play(self) -> None:
        self._next = None
        now = asyncio.get_running_loop().time()
        self._refill(now)
        in_hurry = False
        for audience in list(self._behind):
            shown = self._show(audience, now)
            in_hurry |= shown == _AT_A_TIME
            if not audience.is_behind:
                del self._behind[audience]
            elif shown:
                self._behind.move_to_end(audience)
        if self._behind:
            self._play_after(0 if in_hurry else _TICK)

    def _refill(self, now: float) -> None:
        gained = (now - self._counted_at) * self._pace.rate(self._followers())
        self._allowance = min(self._pace.reserve, self._allowance + gained)
        self._counted_at = now

    def _show(self, audience: Audience, now: float) -> int:
        if audience.final:
            return audience.show(_AT_A_TIME, not_since=now)
        price = self._pace.price(now - audience.known_at, followers=self._followers())
        most = min(_AT_A_TIME, int(self._allowance / price))
        shown = audience.show(most, not_since=now - self._pace.min_interval.total_seconds())
        self._allowance -= shown * price
        return shown
