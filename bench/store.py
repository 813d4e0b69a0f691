"""`python -m bench.store`: a devstore shop in two generations, with its answers remembered.

Generation 1 is generation 0 with one product in a hundred changed. With `--remember` every answer is worked out
once and given again from memory after that, so that a benchmark which has synced once does not measure the
devstore. It speaks https, prints one line of JSON when it listens, and takes `POST /_bench/generation/<0 or 1>`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from devstore.catalog.catalog import Catalog
from devstore.options import parse_shop
from devstore.server import RunningStore, serving
from devstore.shop import Shop
from devstore.spec import ShopSpec
from devstore.tls import TlsFiles, ensure_certificates

CHANGED_ONE_IN = 100
SEED = 7
_CHANGED_AT = datetime(2026, 11, 1, tzinfo=UTC)
_SECRETS = {"consumer_key", "consumer_secret"}


@dataclass(frozen=True, slots=True)
class _Kept:
    status: int
    headers: dict[str, str]
    body: bytes


class Generations:
    """Answers for the generation that was chosen last."""

    def __init__(self, generations: tuple[Shop, ...], *, remember: bool) -> None:
        self._generations = generations
        self._remember = remember
        self._kept: dict[tuple[int, str, str, bytes], _Kept] = {}
        self._number = 0

    async def choose(self, request: web.Request) -> web.Response:
        """Serves the other generation from now on."""
        self._number = int(request.match_info["number"])
        return web.json_response({"items": self._generations[self._number].catalog.item_count})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The shop's answer, worked out or remembered."""
        key = (self._number, request.method, _asked(request), await request.read())
        kept = self._kept.get(key)
        if kept is not None:
            return web.Response(status=kept.status, headers=kept.headers, body=kept.body)
        reply = await self._generations[self._number].answer(request, request.match_info["path"])
        if self._remember and reply.status == 200 and isinstance(reply, web.Response):
            self._kept[key] = _kept(reply)
        return reply


def _asked(request: web.Request) -> str:
    query = [f"{name}={value}" for name, value in request.query.items() if name not in _SECRETS]
    return f"{request.path}?{'&'.join(query)}"


def _kept(reply: web.Response) -> _Kept:
    body = reply.body
    assert isinstance(body, bytes)
    headers = {name: value for name, value in reply.headers.items() if name != "Content-Length"}
    return _Kept(reply.status, headers, body)


def change_some(catalog: Catalog) -> int:
    """Gives every hundredth product another price; how many there were."""
    chosen = [row.id for row in catalog.rows() if row.status != "trash"][CHANGED_ONE_IN - 1 :: CHANGED_ONE_IN]
    for product_id in chosen:
        product = catalog.product(product_id)
        assert product is not None
        if product.variants:
            catalog.update_variant(product.variants[0].id, price="1234.56")
        else:
            catalog.update_product(product_id, price="1234.56")
    return len(chosen)


@asynccontextmanager
async def _generations(spec: ShopSpec) -> AsyncIterator[tuple[RunningStore, RunningStore]]:
    def served() -> AbstractAsyncContextManager[RunningStore]:
        return serving([spec], tls_dir=None, throttle=False, clock=lambda: _CHANGED_AT)

    async with served() as first, served() as second:
        change_some(second.catalog(spec.domain))
        yield first, second


async def _serve(spec: ShopSpec, tls: TlsFiles, *, remember: bool) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with _generations(spec) as stores:
        shops = tuple(store.shops[spec.domain] for store in stores)
        generations = Generations(shops, remember=remember)
        async with _listening(generations, tls) as url:
            gc.freeze()
            print(json.dumps(_ready(shops[0], url, tls)), flush=True)
            await stop.wait()


@asynccontextmanager
async def _listening(generations: Generations, tls: TlsFiles) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post(r"/_bench/generation/{number:[01]}", generations.choose)
    app.router.add_route("*", "/{domain}/{path:.*}", generations.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.server_context()).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _ready(shop: Shop, url: str, tls: TlsFiles) -> dict[str, object]:
    return {
        "url": url,
        "base_url": f"{url}/{shop.spec.domain}",
        "ca_file": str(tls.ca),
        "credentials": shop.spec.credentials,
        "products": shop.catalog.listed_count,
        "items": shop.catalog.item_count,
    }


def main() -> None:
    """Runs until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.store", description=__doc__)
    parser.add_argument("--shop", required=True, help="as the devstore's")
    parser.add_argument("--tls-dir", type=Path, required=True)
    parser.add_argument("--remember", action="store_true", help="keep every answer, without limit")
    asked = parser.parse_args()
    # The difficult products are for tests; here they would be noise.
    spec = replace(parse_shop(asked.shop, seed=SEED), specials=False)
    asyncio.run(_serve(spec, ensure_certificates(asked.tls_dir), remember=asked.remember))


if __name__ == "__main__":
    main()
