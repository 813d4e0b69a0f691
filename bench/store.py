"""`python -m bench.store`: a devstore shop in two generations, with its answers remembered.

Generation 1 is generation 0 with one product in a hundred changed. With `--remember` every answer is worked out
once and given again from memory after that, so that a benchmark which has synced once does not measure the
devstore. A bulk operation that has ended is the answer to who asks for the same one again. The store speaks https,
prints one line of JSON when it listens, and takes `POST /_bench/generation/<0 or 1>`,
`POST /_bench/latency/<ms>` and `GET /_bench/answers`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
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
_OF_ONE_PASS = re.compile(rb"catalogsync [0-9a-f]{32}|created_at:<='[^']*'")
"""What differs between two passes that ask for the same: the mark of a bulk operation, and when the pass began."""
_UNFINISHED = {"CREATED", "RUNNING", "CANCELING"}
_CHUNK = 256 * 1024
"""Bytes of a file that are written at once."""


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
        self._latency = 0.0
        self._kept: dict[tuple[int, str, str, bytes], _Kept] = {}
        self._files: dict[tuple[int, str], bytes] = {}
        self._number = 0
        self._given = 0
        self._worked_out = 0

    async def choose(self, request: web.Request) -> web.Response:
        """Serves the other generation from now on."""
        self._number = int(request.match_info["number"])
        return web.json_response({"items": self._generations[self._number].catalog.item_count})

    async def delay(self, request: web.Request) -> web.Response:
        """Answers so many milliseconds later from now on."""
        ms = int(request.match_info["ms"])
        self._latency = ms / 1000
        return web.json_response({"ms": ms})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The shop's answer, worked out or remembered."""
        key = (self._number, request.method, _asked(request), _OF_ONE_PASS.sub(b"", await request.read()))
        self._given += 1
        if self._latency:
            await asyncio.sleep(self._latency)
        kept = self._kept.get(key)
        if kept is not None:
            return web.Response(status=kept.status, headers=kept.headers, body=kept.body)
        self._worked_out += 1
        reply = await self._generations[self._number].answer(request, request.match_info["path"])
        if self._remember and _lasts(reply):
            assert isinstance(reply, web.Response)
            self._kept[key] = _kept(reply)
        return reply

    async def file(self, request: web.Request) -> web.StreamResponse:
        """The result of a bulk operation, put together once."""
        self._given += 1
        if self._latency:
            await asyncio.sleep(self._latency)
        name = request.match_info["name"]
        body = self._files.get((self._number, name))
        if body is not None and "Range" not in request.headers:
            return await _sent(request, body)
        self._worked_out += 1
        shop = self._generations[self._number]
        reply = await shop.file(request, name)
        job = shop.bulk.by_token(name.removesuffix(".jsonl"))
        if self._remember and reply.status == 200 and job is not None:
            self._files[self._number, name] = job.body
        return reply

    async def told(self, request: web.Request) -> web.Response:
        """How many answers were given, and how many of them were not remembered."""
        return web.json_response({"given": self._given, "worked_out": self._worked_out})


def _asked(request: web.Request) -> str:
    """Without the order of the parameters, which clients choose."""
    query = sorted(f"{name}={value}" for name, value in request.query.items() if name not in _SECRETS)
    return f"{request.path}?{'&'.join(query)}"


def _lasts(reply: web.StreamResponse) -> bool:
    """Whether the same question has the same answer later. Of a refusal it is not sure, and a bulk operation that
    still works will answer otherwise.
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


async def _sent(request: web.Request, body: bytes) -> web.StreamResponse:
    reply = web.StreamResponse(headers={"Content-Length": str(len(body)), "Accept-Ranges": "bytes"})
    reply.content_type = "application/jsonl"
    await reply.prepare(request)
    for start in range(0, len(body), _CHUNK):
        await reply.write(body[start : start + _CHUNK])
    await reply.write_eof()
    return reply


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
        async with listening(_app(generations), tls) as url:
            gc.freeze()
            print(json.dumps(_ready(shops[0], url, tls)), flush=True)
            await stop.wait()


def _app(generations: Generations) -> web.Application:
    app = web.Application()
    app.router.add_post(r"/_bench/generation/{number:[01]}", generations.choose)
    app.router.add_post(r"/_bench/latency/{ms:\d+}", generations.delay)
    app.router.add_get("/_bench/answers", generations.told)
    app.router.add_get("/_files/{domain}/{name}", generations.file)
    app.router.add_route("*", "/{domain}/{path:.*}", generations.answer)
    return app


@asynccontextmanager
async def listening(app: web.Application, tls: TlsFiles) -> AsyncIterator[str]:
    """The address of `app` while the context lasts."""
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
    spec = replace(parse_shop(asked.shop, seed=SEED), edge_cases=False)
    asyncio.run(_serve(spec, ensure_certificates(asked.tls_dir), remember=asked.remember))


if __name__ == "__main__":
    main()
