"""The devstore as a server, inside a test or as a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from aiohttp import web

from devstore.catalog.catalog import Catalog, now
from devstore.control_api import Control
from devstore.faults import FailNext, Fault
from devstore.request_log import Traffic
from devstore.shop import Shop
from devstore.shopify.api import ShopifyFace
from devstore.shopify.bulk_jobs import BulkJobs
from devstore.spec import ShopSpec
from devstore.tls import TlsFiles, ensure_certificates

_CLOSE_WITHIN = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningStore:
    """A devstore that is listening. Shops are named by their domain; an unknown one is a KeyError."""

    url: str
    """Scheme, host and port."""
    ca_file: Path | None
    """What a client must trust; None over plain http."""
    shops: Mapping[str, Shop]

    def base_url(self, domain: str) -> str:
        """The address that stands for https://<domain> in the real world."""
        return f"{self.url}/{self.shops[domain].spec.domain}"

    def credentials(self, domain: str) -> dict[str, str]:
        """The keys that open the shop, by the platform's names for them."""
        return self.shops[domain].spec.credentials

    def catalog(self, domain: str) -> Catalog:
        """The shop's truth; change it while clients read."""
        return self.shops[domain].catalog

    def requests(self, domain: str) -> Traffic:
        """What was asked of the shop so far."""
        return self.shops[domain].traffic

    def shopify(self, domain: str) -> ShopifyFace:
        """The face of a Shopify shop: its switches (`quirks`), its tokens (`oauth`) and its `bucket`."""
        return self.shops[domain].shopify

    def bulk(self, domain: str) -> BulkJobs:
        """The bulk operations of a Shopify shop, with their switches."""
        return self.shops[domain].bulk

    def add_fault(self, domain: str, fault: Fault) -> None:
        """Puts a fault in front of the shop, behind those already there."""
        self.shops[domain].faults.append(fault)

    def clear_faults(self, domain: str) -> None:
        """The shop behaves again."""
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
        """The next `times` API requests get this reply instead of the shop's."""
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
    """Serves the shops until the block ends; https if `tls_dir` is given, on a free port if `port` is 0.

    `latency` seconds are added to each API reply; without `throttle` no query is ever too much; `clock`
    dates changes of the catalogs.
    """
    running = _shops(shops, throttle=throttle, latency=latency, clock=clock)
    files = await asyncio.to_thread(ensure_certificates, tls_dir) if tls_dir else None
    runner = web.AppRunner(_app(running), access_log=None, shutdown_timeout=_CLOSE_WITHIN)
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
    Control(shops).attach(app)
    app.router.add_get("/_files/{domain}/{name}", file)
    app.router.add_route("*", "/{domain}/{path:.*}", answer)
    return app


def _url(runner: web.AppRunner, files: TlsFiles | None) -> str:
    host, port = runner.addresses[0][:2]
    return f"{'https' if files else 'http'}://{host}:{port}"
