"""`python -m bench.common.store_server`: devstore shops whose answers are cached.

With `--cache` every answer is computed once and served from memory after that, so that a benchmark which has
synced once does not measure the devstore. Whoever starts a bulk operation again gets the one that is completed.
With `--generations 2` each shop has a second generation with one product in a hundred changed.

The server speaks HTTPS, prints one line of JSON when it listens, and has these control endpoints:

    POST /_bench/generation/<0 or 1>    serve that generation of every shop from now on
    POST /_bench/latency/<ms>           delay every answer
    GET  /_bench/answers                number of answers so far, and of those that were computed
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
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
# What differs between the requests of two passes that ask for the same: the tag of a bulk operation, and the time
# when the pass began.
_PASS_SPECIFIC = re.compile(rb"catalogsync [0-9a-f]{32}|created_at:<='[^']*'")
_UNFINISHED = {"CREATED", "RUNNING", "CANCELING"}
_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class _CachedAnswer:
    status: int
    headers: dict[str, str]
    body: bytes


class CachingServer:
    """Answers for the current generation of each shop.

    Args:
        generations: For each generation, the shops by domain.
        cache: Whether answers are kept, without limit.
    """

    def __init__(self, generations: Sequence[dict[str, Shop]], *, cache: bool) -> None:
        self._generations = generations
        self._cache_enabled = cache
        self._latency_seconds = 0.0
        self._answers: dict[tuple[int, str, str, bytes], _CachedAnswer] = {}
        self._files: dict[tuple[int, str, str], bytes] = {}
        self._current = 0
        self._total = 0
        self._computed = 0

    def app(self) -> web.Application:
        """Return the application with the control endpoints and all shops."""
        app = web.Application()
        app.router.add_post(r"/_bench/generation/{number:\d}", self._set_generation)
        app.router.add_post(r"/_bench/latency/{ms:\d+}", self._set_latency)
        app.router.add_get("/_bench/answers", self._answer_counts)
        app.router.add_get("/_files/{domain}/{name}", self._file)
        app.router.add_route("*", "/{domain}/{path:.*}", self._answer)
        return app

    async def _set_generation(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        if number >= len(self._generations):
            return web.Response(status=404, text="no such generation")
        self._current = number
        return web.json_response({})

    async def _set_latency(self, request: web.Request) -> web.Response:
        self._latency_seconds = int(request.match_info["ms"]) / 1000
        return web.json_response({})

    async def _answer_counts(self, request: web.Request) -> web.Response:
        return web.json_response({"total": self._total, "computed": self._computed})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        shop = self._generations[self._current].get(request.match_info["domain"])
        if shop is None:
            return web.Response(status=404, text="no such shop")
        key = (self._current, request.method, _cache_key(request), _PASS_SPECIFIC.sub(b"", await request.read()))
        self._total += 1
        if self._latency_seconds:
            await asyncio.sleep(self._latency_seconds)
        cached = self._answers.get(key)
        if cached is not None:
            return web.Response(status=cached.status, headers=cached.headers, body=cached.body)
        self._computed += 1
        reply = await shop.answer(request, request.match_info["path"])
        if self._cache_enabled and _is_cacheable(reply):
            assert isinstance(reply, web.Response)
            self._answers[key] = _to_cache(reply)
        return reply

    async def _file(self, request: web.Request) -> web.StreamResponse:
        """Serve the result of a bulk operation, which is computed once."""
        domain, name = request.match_info["domain"], request.match_info["name"]
        self._total += 1
        if self._latency_seconds:
            await asyncio.sleep(self._latency_seconds)
        body = self._files.get((self._current, domain, name))
        if body is not None and "Range" not in request.headers:
            return await _send_file(request, body)
        self._computed += 1
        shop = self._generations[self._current][domain]
        reply = await shop.file(request, name)
        job = shop.bulk.by_token(name.removesuffix(".jsonl"))
        if self._cache_enabled and reply.status == 200 and job is not None:
            self._files[self._current, domain, name] = job.body
        return reply


def _cache_key(request: web.Request) -> str:
    """Return path and query without secrets, with the parameters sorted: their order is up to the client."""
    query = sorted(f"{name}={value}" for name, value in request.query.items() if name not in _SECRETS)
    return f"{request.path}?{'&'.join(query)}"


def _is_cacheable(reply: web.StreamResponse) -> bool:
    """Return whether the same request gets the same answer later.

    Other errors than 404 may be temporary, and a bulk operation that still runs will answer differently.
    """
    if not isinstance(reply, web.Response):
        return False
    if reply.status == 404:
        return True
    body = reply.body
    assert isinstance(body, bytes)
    if reply.status != 200 or not body.startswith(b'{"data":{"bulkOperation":'):
        return reply.status == 200
    return json.loads(body)["data"]["bulkOperation"]["status"] not in _UNFINISHED


def _to_cache(reply: web.Response) -> _CachedAnswer:
    body = reply.body
    assert isinstance(body, bytes)
    headers = {name: value for name, value in reply.headers.items() if name != "Content-Length"}
    return _CachedAnswer(reply.status, headers, body)


async def _send_file(request: web.Request, body: bytes) -> web.StreamResponse:
    reply = web.StreamResponse(headers={"Content-Length": str(len(body)), "Accept-Ranges": "bytes"})
    reply.content_type = "application/jsonl"
    await reply.prepare(request)
    for start in range(0, len(body), _CHUNK_BYTES):
        await reply.write(body[start : start + _CHUNK_BYTES])
    await reply.write_eof()
    return reply


def change_prices(catalog: Catalog) -> int:
    """Change the price of every hundredth product; return how many were changed."""
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
async def _generations(specs: Sequence[ShopSpec], count: int) -> AsyncIterator[list[RunningStore]]:
    """Run the shops once for each generation, with the changes of the later ones made."""
    async with AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(
                serving(specs, tls_dir=None, throttle=False, clock=lambda: _CHANGED_AT)
            )
            for _ in range(count)
        ]
        for store in stores[1:]:
            for spec in specs:
                change_prices(store.catalog(spec.domain))
        yield stores


async def _serve(specs: Sequence[ShopSpec], tls: TlsFiles, *, cache: bool, generation_count: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with _generations(specs, generation_count) as stores:
        generations = [dict(store.shops) for store in stores]
        async with _listening(CachingServer(generations, cache=cache).app(), tls) as url:
            gc.freeze()
            print(json.dumps(_ready(list(generations[0].values()), url, tls)), flush=True)
            await stop.wait()


@asynccontextmanager
async def _listening(app: web.Application, tls: TlsFiles) -> AsyncIterator[str]:
    """Serve `app` on a free port and yield its URL."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.server_context()).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _ready(shops: Sequence[Shop], url: str, tls: TlsFiles) -> dict[str, object]:
    """Return what `bench.common.store.running_store` reads."""
    return {
        "url": url,
        "ca_file": str(tls.ca),
        "shops": [
            {
                "name": shop.spec.name,
                "base_url": f"{url}/{shop.spec.domain}",
                "credentials": shop.spec.credentials,
                "products": shop.catalog.listed_count,
                "items": shop.catalog.item_count,
            }
            for shop in shops
        ],
    }


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.common.store_server",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--shop", action="append", required=True, help="as the devstore's, repeatable")
    parser.add_argument("--tls-dir", type=Path, required=True)
    parser.add_argument("--cache", action="store_true", help="keep every answer, without limit")
    parser.add_argument("--generations", type=int, choices=(1, 2), default=1)
    args = parser.parse_args()
    # Products with unusual data are for tests; they would be noise here.
    specs = [replace(parse_shop(shop, seed=SEED), edge_cases=False) for shop in args.shop]
    tls = ensure_certificates(args.tls_dir)
    asyncio.run(_serve(specs, tls, cache=args.cache, generation_count=args.generations))


if __name__ == "__main__":
    main()
