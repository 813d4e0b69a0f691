"""Receives the alerts of a Prometheus in place of an Alertmanager, so that tests wait without polling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

_TIMEOUT_SECONDS: Final = 300.0
"""Of one wait: a multiple of what the slowest alert needs."""


class AlertReceiver:
    """What fires now, and what has fired."""

    def __init__(self) -> None:
        self.fired: set[str] = set()
        """Names of all alerts that have fired."""
        self.runbooks: dict[str, str] = {}
        """By the names of the alerts that have fired."""
        self._firing: set[frozenset[tuple[str, str]]] = set()
        self._changed = asyncio.Condition()

    @property
    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        return {dict(labels)["alertname"] for labels in self._firing}

    async def until_firing(self, *names: str) -> None:
        """Return when each of these alerts has fired since this call, or fires already."""
        left = set(names)

        def none_left() -> bool:
            left.difference_update(self.firing)
            return not left

        await self._wait(none_left, lambda: f"{sorted(left)} did not fire")

    async def until_resolved(self, *names: str) -> None:
        """Return when none of these alerts fires."""
        await self._wait(
            lambda: not self.firing & set(names), lambda: f"{sorted(self.firing & set(names))} did not resolve"
        )

    async def _wait(self, condition: Callable[[], bool], problem: Callable[[], str]) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS), self._changed:
                await self._changed.wait_for(condition)
        except TimeoutError:
            raise AssertionError(f"{problem()}; firing: {sorted(self.firing)}") from None

    async def receive(self, request: web.Request) -> web.Response:
        """Handle `POST /api/v2/alerts`."""
        async with self._changed:
            for alert in await request.json():
                self._update(alert)
            self._changed.notify_all()
        return web.Response()

    def _update(self, alert: dict[str, Any]) -> None:
        labels, name = frozenset(alert["labels"].items()), alert["labels"]["alertname"]
        if datetime.fromisoformat(alert["endsAt"]) <= datetime.now(UTC):
            self._firing.discard(labels)
            return
        self._firing.add(labels)
        self.fired.add(name)
        self.runbooks[name] = alert["annotations"]["runbook_url"]


@asynccontextmanager
async def receiving_alerts(port: int) -> AsyncIterator[AlertReceiver]:
    """Receive alerts at a port of this machine while the context lasts."""
    receiver = AlertReceiver()
    app = web.Application()
    app.router.add_post("/api/v2/alerts", receiver.receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield receiver
    finally:
        await runner.cleanup()
