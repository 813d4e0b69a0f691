"""The queue of one shop's webhook deliveries, and the tasks that send them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import aiohttp

_log = logging.getLogger(__name__)
_MAX_WAITING: Final = 10_000
_RECENT_DELIVERIES: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPolicy:
    """How a platform sends."""

    concurrency: int
    """Deliveries that are sent at the same time."""
    timeout_seconds: float
    retry_delays_seconds: tuple[float, ...] = ()
    """Before the second and each further attempt; empty: no retry."""
    highest_success: int = 299
    """The highest status that is a success; redirects are not followed."""


@dataclass(slots=True, kw_only=True)
class DeliverySwitches:
    """What the network and the platform do to deliveries; a test sets the switches while the shop runs."""

    lost: float = 0.0
    """The share of deliveries that are never sent although the platform counts them as delivered."""
    doubled: float = 0.0
    """The share of deliveries that are sent twice."""
    late: float = 0.0
    """The share of deliveries that wait `late_seconds` first."""
    late_seconds: float = 60.0
    """When it is set, the late deliveries that wait are sent at once."""
    shuffled: bool = False
    """Whether waiting deliveries are sent in a random order."""
    held: bool = False
    """Whether deliveries wait until this is False."""
    retry_delay_factor: float = 1.0
    """Multiplies the platform's delays between attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True, kw_only=True)
class QueuedDelivery:
    """A delivery that waits to be sent."""

    topic: str
    url: str
    prepare: Callable[[], Message | None]
    """Called before each attempt. None: the delivery is dropped, since its subscription is gone."""
    on_result: Callable[[bool], None] = lambda succeeded: None
    """Called after the last attempt."""
    key: Hashable = None
    """A delivery is not queued while one with the same key waits; None: it always is."""
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """One attempt."""

    topic: str
    status: int | None
    """None: no answer."""
    attempt: int


@dataclass(slots=True)
class DeliveryLog:
    """Counters and the latest attempts since the start."""

    counts: Counter[str] = field(default_factory=Counter)
    """queued, coalesced, sent, succeeded, failed, retried, lost, doubled, late, dropped."""
    recent: deque[DeliveryRecord] = field(default_factory=lambda: deque(maxlen=_RECENT_DELIVERIES))


class WebhookSender:
    """Sends the deliveries of one shop in background tasks, which start with the first delivery."""

    def __init__(self, policy: DeliveryPolicy, *, seed: int = 7) -> None:
        self.switches = DeliverySwitches()
        self.log = DeliveryLog()
        self._policy = policy
        self._random = Random(seed)
        self._waiting: list[QueuedDelivery] = []
        self._keys: set[Hashable] = set()
        self._delayed: set[asyncio.Task[None]] = set()
        self._late = asyncio.Event()
        """Ends the wait of the late deliveries."""
        self._workers: list[asyncio.Task[None]] = []
        self._in_flight = 0
        self._wake = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None

    @property
    def waiting(self) -> int:
        """The number of deliveries that wait or are being sent."""
        return len(self._waiting) + len(self._delayed) + self._in_flight

    def change_switches(self, **changes: float) -> None:
        """Set switches by their names; what waits is sent by the new ones."""
        for name, value in changes.items():
            setattr(self.switches, name, value)
        if "late_seconds" in changes:
            self._late.set()
            self._late = asyncio.Event()
        self._wake.set()

    def enqueue(self, delivery: QueuedDelivery) -> None:
        """Queue a delivery, unless an equal one waits or the queue is full."""
        if delivery.key is not None and delivery.key in self._keys:
            self.log.counts["coalesced"] += 1
            return
        self.log.counts["queued"] += 1
        if self._random.random() < self.switches.late:
            self.log.counts["late"] += 1
            self._delay(delivery, self.switches.late_seconds, until=self._late)
        else:
            self._append(delivery)

    async def post(self, topic: str, url: str, message: Message) -> int | None:
        """Send one message now, past the queue. Return the status; None if there is no answer."""
        status = await self._post(url, message)
        self.log.recent.append(DeliveryRecord(topic=topic, status=status, attempt=1))
        return status

    def run(self, sending: Coroutine[Any, Any, None]) -> None:
        """Run `sending` in the background; it counts as a waiting delivery until it ends."""
        task = asyncio.create_task(sending)
        self._delayed.add(task)
        task.add_done_callback(self._delayed.discard)

    async def close(self) -> None:
        """Stop sending; what waits is discarded."""
        tasks = [*self._workers, *self._delayed]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._workers.clear()
        self._delayed.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None

    # -- the queue

    def _append(self, delivery: QueuedDelivery) -> None:
        if self.waiting >= _MAX_WAITING:
            self.log.counts["dropped"] += 1
            return
        if delivery.key is not None:
            self._keys.add(delivery.key)
        self._waiting.append(delivery)
        if not self._workers:
            self._workers = [asyncio.create_task(self._work()) for _ in range(self._policy.concurrency)]
        self._wake.set()

    def _delay(self, delivery: QueuedDelivery, seconds: float, *, until: asyncio.Event | None = None) -> None:
        """Append the delivery after some seconds, or earlier when `until` is set."""

        async def append_later() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await (until or asyncio.Event()).wait()
            self._delayed.discard(task)
            self._append(delivery)

        if self.waiting >= _MAX_WAITING:
            self.log.counts["dropped"] += 1
            return
        task = asyncio.create_task(append_later())
        self._delayed.add(task)

    def _next(self) -> QueuedDelivery | None:
        if self.switches.held or not self._waiting:
            return None
        index = self._random.randrange(len(self._waiting)) if self.switches.shuffled else 0
        delivery = self._waiting.pop(index)
        self._keys.discard(delivery.key)
        return delivery

    # -- sending

    async def _work(self) -> None:
        while True:
            delivery = self._next()
            if delivery is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            self._in_flight += 1
            try:
                await self._send(delivery)
            except Exception:
                _log.exception("a webhook of the topic %s cannot be made", delivery.topic)
                self.log.counts["failed"] += 1
            finally:
                self._in_flight -= 1

    async def _send(self, delivery: QueuedDelivery) -> None:
        message = delivery.prepare()
        if message is None:
            self.log.counts["dropped"] += 1
            return
        if self._random.random() < self.switches.lost:
            self.log.counts["lost"] += 1
            delivery.on_result(True)
            return
        delivery.attempts += 1
        status = await self._attempt(delivery, message)
        if self._random.random() < self.switches.doubled:
            self.log.counts["doubled"] += 1
            await self._attempt(delivery, message)
        if status is not None and 200 <= status <= self._policy.highest_success:
            self.log.counts["succeeded"] += 1
            delivery.on_result(True)
        else:
            self._retry_or_fail(delivery)

    async def _attempt(self, delivery: QueuedDelivery, message: Message) -> int | None:
        self.log.counts["sent"] += 1
        status = await self._post(delivery.url, message)
        self.log.recent.append(DeliveryRecord(topic=delivery.topic, status=status, attempt=delivery.attempts))
        return status

    def _retry_or_fail(self, delivery: QueuedDelivery) -> None:
        delays = self._policy.retry_delays_seconds
        if delivery.attempts <= len(delays):
            self.log.counts["retried"] += 1
            self._delay(delivery, delays[delivery.attempts - 1] * self.switches.retry_delay_factor)
            return
        self.log.counts["failed"] += 1
        delivery.on_result(False)

    async def _post(self, url: str, message: Message) -> int | None:
        if self._session is None:
            self._session = aiohttp.ClientSession(skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"))
        timeout = aiohttp.ClientTimeout(total=self._policy.timeout_seconds)
        try:
            async with self._session.post(
                url, data=message.body, headers=message.headers, timeout=timeout, allow_redirects=False
            ) as reply:
                await reply.read()
                return reply.status
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None
