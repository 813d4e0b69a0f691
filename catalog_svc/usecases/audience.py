"""Those who follow one sync."""

from __future__ import annotations

import asyncio
from collections import OrderedDict


class Audience:
    """Any number of tasks that wait to be shown news of one sync: who waits longest comes first.

    Times are those of the event loop's clock, in seconds.
    """

    def __init__(self) -> None:
        self.known_at = float("-inf")
        """When the newest news came."""
        self.final = False
        """No more will come."""
        self._behind: OrderedDict[asyncio.Future[None], float] = OrderedDict()
        self._up_to_date: OrderedDict[asyncio.Future[None], float] = OrderedDict()
        """By the time at which each was shown something last."""

    @property
    def is_behind(self) -> bool:
        """Whether there is somebody to be shown something."""
        return bool(self._behind)

    async def wait(self, *, behind: bool, shown_at: float) -> None:
        """Returns when the caller is to look, which was shown something last at `shown_at`.

        `behind`: there are news for it already.
        """
        future = asyncio.get_running_loop().create_future()
        (self._behind if behind else self._up_to_date)[future] = shown_at
        try:
            await future
        finally:
            self._behind.pop(future, None)
            self._up_to_date.pop(future, None)

    def hear(self, at: float, *, final: bool) -> None:
        """There are news for all."""
        self.known_at, self.final = at, final
        if self._behind:
            self._behind.update(self._up_to_date)
            self._up_to_date.clear()
        else:
            self._behind, self._up_to_date = self._up_to_date, self._behind

    def show(self, most: int, *, not_since: float) -> int:
        """Lets up to `most` look who are behind and were shown nothing since then; returns how many."""
        shown = 0
        while shown < most and self._behind:
            future, shown_at = self._behind.popitem(last=False)
            if shown_at > not_since:
                self._behind[future] = shown_at
                self._behind.move_to_end(future, last=False)
                break
            # Its task may have been cancelled or have run out of time.
            if not future.done():
                future.set_result(None)
                shown += 1
        return shown

    def dismiss(self) -> None:
        """Lets all look, news or not."""
        for future in (*self._behind, *self._up_to_date):
            if not future.done():
                future.set_result(None)
