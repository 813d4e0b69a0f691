"""How many calls one store bears at a time: found out by trying, and shared by all who read the store.

The first call has the store for itself and tells what a small one takes alone; then three may be under way, which
every host bears. Where their answers are as quick as one alone, the store is far away rather than busy, and
gets all places at once; elsewhere one is added for each round. An answer that is slow, or none, halves them, and
from then on half a place is added for each round.

Slow is measured against the quickest answer to a call of the same kind, and what one takes that has the store for
itself counts more. A store that shares its time evenly among all calls never shows how quick it could be: so once
in a while a call waits until it is alone.


What calls of one kind to one store take."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

from connector_svc.domain.errors import SourceRedirected

MOST_CALLS: Final = 8
"""As many connections as the HTTP client keeps to one host unless it is told otherwise."""
FIRST_CALLS: Final = 3
"""Places at the start."""
_FIRST_STEP: Final = 1.0
"""Places that a round adds while nothing was slow."""
_STEP: Final = 0.5
"""The same after that."""
_ALONE_AFTER: Final = 24
"""Calls of a kind that was never seen alone, before one of them waits until it is: three rounds of all places."""
_ALONE_EVERY: Final = 200
"""The same of a kind that was: a store may become slower, or quicker, for good."""
_MOST_KINDS: Final = 50

_Task: TypeAlias = asyncio.Task[object] | None


@dataclass(slots=True)
class Call:
    """One that is under way."""

    kind: str
    started: float = 0.0
    known: bool = False
    """Whether there was something to compare it with when it began."""
    fills: bool = False
    """Whether it took the last place: where calls queue it waits longest, while the first are quick."""
    explores: bool = False
    """Whether it keeps the store for itself."""
    alone: bool = False
    size: int = 0
    """Bytes of the answer: a large one may take longer."""
    refused: bool = False
    """Whether the store would not give what was asked, which may be quick when nothing else is."""
    waits: bool = False
    failed: bool = False


class Gate:
    """Lets calls to one store pass."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, *, most: int = MOST_CALLS) -> None:
        self._monotonic = monotonic
        self._most = most
        self._limit = 1.0
        self._begins = True
        """Until the first answer."""
        self._far = True
        """While each answer was as quick as one alone, whatever was under way with it."""
        self._was_slow = False
        self._calls: dict[_Task, Call] = {}
        self._queue: deque[tuple[asyncio.Future[None], _Task, Call]] = deque()
        self._usual: dict[str, Usual] = {}
        self._shrunk_at = -1.0

    @property
    def most(self) -> int:
        """What the limit never exceeds."""
        return self._most

    @property
    def limit(self) -> int:
        """How many calls may be under way now."""
        return int(self._limit)

    @asynccontextmanager
    async def call(self, kind: str) -> AsyncIterator[Call]:
        """One call; whoever makes it notes the size of the answer. One that raises counts as not answered."""
        task, call = asyncio.current_task(), Call(kind=kind)
        await self._enter(task, call)
        try:
            yield call
        except SourceRedirected:
            # An answer like any other.
            self._judge(call)
            raise
        except Exception:
            self.trouble()
            raise
        else:
            self._judge(call)
        finally:
            self._leave(task)

    def trouble(self) -> None:
        """The store asks the current task to wait, or does not answer it: nobody else asks before it has."""
        call = self._calls.get(asyncio.current_task())
        if call is None:
            return
        call.waits = call.failed = True
        self._shrink(call)

    def _judge(self, call: Call) -> None:
        if call.failed or call.refused:
            return
        took = self._monotonic() - call.started
        usual = self._usual.get(call.kind)
        if usual is None:
            if len(self._usual) == _MOST_KINDS:
                return
            usual = self._usual[call.kind] = Usual(took, call.size)
        if call.known and not call.alone:
            self._far = self._far and usual.is_as_alone(took, call.size)
        if usual.is_slow(took, call.size):
            self._shrink(call)
        elif self._begins:
            self._limit = float(min(FIRST_CALLS, self._most))
        elif call.fills and call.known:
            self._grow()
        self._begins = False
        if call.alone:
            usual.alone(took, call.size)
        else:
            usual.in_company(took, call.size)

    def _grow(self) -> None:
        places = float(self._most) if self._far else (_STEP if self._was_slow else _FIRST_STEP) / self._limit
        self._limit = min(self._limit + places, self._most)

    def _shrink(self, call: Call) -> None:
        """Once for all calls that were under way together: they suffered from the same crowd."""
        if call.started < self._shrunk_at:
            return
        self._shrunk_at = self._monotonic()
        self._was_slow, self._far = True, False
        self._limit = max(self._limit / 2, 1.0)

    def _is_open(self, kind: str) -> bool:
        if any(call.waits or call.explores for call in self._calls.values()):
            return False
        return not self._calls if self._is_due(kind) else len(self._calls) < self.limit

    def _is_due(self, kind: str) -> bool:
        """Whether the next call of this kind is to have the store for itself."""
        usual = self._usual.get(kind)
        return usual is not None and usual.since >= (_ALONE_EVERY if usual.was_alone else _ALONE_AFTER)

    async def _enter(self, task: _Task, call: Call) -> None:
        if not self._queue and self._is_open(call.kind):
            self._admit(task, call)
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((place, task, call))
        try:
            await place
        except asyncio.CancelledError:
            self._leave(task)
            raise

    def _admit(self, task: _Task, call: Call) -> None:
        call.explores = self._is_due(call.kind)
        self._calls[task] = call
        call.started = self._monotonic()
        if usual := self._usual.get(call.kind):
            call.known = True
            usual.since += 1
        call.fills = len(self._calls) >= self.limit
        call.alone = len(self._calls) == 1
        if not call.alone:
            for other in self._calls.values():
                other.alone = False

    def _leave(self, task: _Task) -> None:
        """The task's call is over, or the task gave up waiting for its place."""
        self._calls.pop(task, None)
        while self._queue:
            place, waiting, call = self._queue[0]
            if not place.cancelled() and not self._is_open(call.kind):
                return
            self._queue.popleft()
            if not place.cancelled():
                self._admit(waiting, call)
                place.set_result(None)


_SLOW_TIMES: Final = 2.0
"""The usual time, from which one counts as slow."""
_SLOW_AT_LEAST: Final = 0.05
"""Seconds above that which are no more than noise."""
_SAME_TIMES: Final = 1.25
_SAME_AT_LEAST: Final = 0.01
"""The same of one that counts as quick as one alone."""
_MOST_LARGER: Final = 4.0
"""How many times as long the answer to a call of the same kind may take for its size."""
_SMALL: Final = 4_096
"""Bytes below which the size of an answer says nothing."""
_NEWS: Final = 0.3
"""The weight of the latest call that was alone."""


@dataclass(slots=True)
class Usual:
    """Begins with the first answer, whoever was under way with it."""

    seconds: float
    size: int
    was_alone: bool = False
    """Whether a call that had the store for itself has told."""
    since: int = 0
    """Calls that began since one of them was alone."""

    def is_slow(self, took: float, size: int) -> bool:
        """Whether an answer of `size` took longer than the store needs."""
        return took > self._expected(size) * _SLOW_TIMES + _SLOW_AT_LEAST

    def is_as_alone(self, took: float, size: int) -> bool:
        """Whether the others that were under way cost it nothing, as far as can be told."""
        return not self.was_alone or took <= self._expected(size) * _SAME_TIMES + _SAME_AT_LEAST

    def alone(self, took: float, size: int) -> None:
        """Learns from a call that had the store for itself."""
        weight = _NEWS if self.was_alone else 1.0
        self.seconds += (took - self.seconds) * weight
        self.size += round((size - self.size) * weight)
        self.was_alone = True
        self.since = 0

    def in_company(self, took: float, size: int) -> None:
        """Learns from one of several: what was quicker than ever, for no less, shows what the store can do."""
        if took < self.seconds and size * 2 >= self.size:
            self.seconds, self.size = took, size

    def _expected(self, size: int) -> float:
        """At most, for an answer of `size`: what every call costs does not grow with it."""
        larger = max(size, _SMALL) / max(self.size, _SMALL)
        return self.seconds * min(max(1.0, larger), _MOST_LARGER)
