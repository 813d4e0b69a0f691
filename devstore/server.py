"""The devstore's HTTP server: start it with `serving`, inside a test or as a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from aiohttp import web

from devstore.catalog.catalog import Catalog, now
from devstore.control_api import ControlApi
from devstore.faults import FailNext, Fault
from devstore.request_log import RequestLog
from devstore.shop import Shop
from devstore.shopify.api import ShopifyApi
from devstore.shopify.bulk_jobs import BulkJobs
from devstore.spec import ShopSpec
from devstore.tls import TlsFiles, ensure_certificates
from devstore.webhooks.sender import WebhookSender

_SHUTDOWN_TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningStore:
    """A devstore that is listening. Its methods take the domain of a shop; an unknown domain raises KeyError."""

    url: str
    """Scheme, host and port."""
    ca_file: Path | None
    """The certificate authority that a client must trust; None over plain http."""
    shops: Mapping[str, Shop]

    def base_url(self, domain: str) -> str:
        """Return the base URL of the shop; a real shop has `https://<domain>`."""
        return f"{self.url}/{self.shops[domain].spec.domain}"

    def credentials(self, domain: str) -> dict[str, str]:
        """Return the valid credentials of the shop, named as the platform names them."""
        return self.shops[domain].spec.credentials

    def catalog(self, domain: str) -> Catalog:
        """Return the shop's catalog; it may be changed while clients read."""
        return self.shops[domain].catalog

    def requests(self, domain: str) -> RequestLog:
        """Return the counters and the latest requests of the shop."""
        return self.shops[domain].requests

    def shopify(self, domain: str) -> ShopifyApi:
        """Return the API of a Shopify shop: its `quirks`, `oauth` (tokens) and `bucket` (rate limit)."""
        return self.shops[domain].shopify

    def bulk(self, domain: str) -> BulkJobs:
        """Return the bulk operations of a Shopify shop, with their `switches`."""
        return self.shops[domain].bulk

    def webhooks(self, domain: str) -> WebhookSender:
        """Return the queue of the shop's webhook deliveries, with its `switches` and its `log`."""
        sender = self.shops[domain].webhooks
        if sender is None:
            raise KeyError(domain)
        return sender

    def add_fault(self, domain: str, fault: Fault) -> None:
        """Append a fault to the faults of the shop."""
        self.shops[domain].faults.append(fault)

    def clear_faults(self, domain: str) -> None:
        """Remove all faults of the shop."""
        self.shops[domain].faults.clear()

    def fail_next(
        self,
        domain: str,
        times: int = 1,
        *,
        status: int,
        body: str = "",
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> None:
        """Answer the next `times` API requests with this reply instead of the shop's."""
        fault = FailNext(times=times, status=status, body=body, headers=headers or {}, content_type=content_type)
        self.add_fault(domain, fault)


@asynccontextmanager
async def serving(
    shops: Sequence[ShopSpec],
    *,
    tls_dir: Path | None,
    host: str = "127.0.0.1",
    port: int = 0,
    throttle: bool = True,
    latency: float = 0.0,
    clock: Callable[[], datetime] = now,
) -> AsyncIterator[RunningStore]:
    """Serve the shops until the block ends.

    Args:
        shops: One spec per shop; two shops cannot share a domain.
        tls_dir: Serve https with the certificates of this directory, created when missing; None: plain http.
        host: The address to listen on.
        port: 0 picks a free port.
        throttle: Whether the platforms' rate limits are enforced.
        latency: Seconds added to each API reply.
        clock: Dates the changes of the catalogs.
    """
    running = _shops(shops, throttle=throttle, latency=latency, clock=clock)
    files = await asyncio.to_thread(ensure_certificates, tls_dir) if tls_dir else None
    runner = web.AppRunner(_app(running), access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=files.server_context() if files else None)
        await site.start()
        yield RunningStore(url=_url(runner, files), ca_file=files.ca if files else None, shops=running)
    finally:
        await runner.cleanup()
        for shop in running.values():
            await shop.close()


def _shops(
    specs: Sequence[ShopSpec], *, throttle: bool, latency: float, clock: Callable[[], datetime]
) -> dict[str, Shop]:
    running: dict[str, Shop] = {}
    for spec in specs:
        if spec.domain in running:
            raise ValueError(f"two shops cannot share the domain {spec.domain}")
        running[spec.domain] = Shop(spec, throttle=throttle, latency=latency, clock=clock)
    return running


def _app(shops: Mapping[str, Shop]) -> web.Application:
    async def answer(request: web.Request) -> web.StreamResponse:
        shop = shops.get(request.match_info["domain"])
        if shop is None:
            return web.Response(status=404, text="no such shop")
        return await shop.answer(request, request.match_info["path"])

    async def file(request: web.Request) -> web.StreamResponse:
        shop = shops.get(request.match_info["domain"])
        if shop is None:
            return web.Response(status=404, text="no such shop")
        return await shop.file(request, request.match_info["name"])

    app = web.Application()
    ControlApi(shops).attach(app)
    app.router.add_get("/_files/{domain}/{name}", file)
    app.router.add_route("*", "/{domain}/{path:.*}", answer)
    return app


def _url(runner: web.AppRunner, files: TlsFiles | None) -> str:
    host, port = runner.addresses[0][:2]
    return f"{'https' if files else 'http'}://{host}:{port}"
