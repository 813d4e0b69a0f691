"""`python -m bench.stores`: many devstore shops in one process, with their answers remembered.

Takes `--shop` as the devstore does, any number of times. It speaks https and prints one line of JSON when it
listens. Every answer is worked out once and given again from memory after that.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from aiohttp import web
from catalogsync_cli.shop import ShopName

from bench.kinds import shop_of
from bench.stack import READY_PATIENCE, ROOT
from bench.store import SEED, Generations, listening
from demo.children import Family
from demo.stack import first_line
from devstore.options import parse_shop
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec
from devstore.tls import TlsFiles, ensure_certificates


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedShop:
    """A shop that some store process serves."""

    name: ShopName
    base_url: str
    credentials: dict[str, str]
    items: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Stores:
    """A running `bench.stores`."""

    pid: int
    family: Family
    ca_file: str
    shops: tuple[ServedShop, ...]
    """In the order in which they were asked for."""


def numbered_shop(kind: str, number: int, items: int) -> str:
    """The devstore's --shop for one of many shops of that kind, see `bench.kinds`."""
    platform, domain, options = shop_of(kind, items).split(":")
    return f"{platform}:shop-{number}-{domain}:{options}"


@asynccontextmanager
async def running_stores(place: Path, shops: Sequence[str], *, tls: Path) -> AsyncIterator[Stores]:
    """Serves the shops, each written as the devstore's --shop. Stores with the same `tls` have the same CA."""
    _make(place)
    answer = place / "stores.json"
    arguments = [word for shop in shops for word in ("--shop", shop)]
    async with Family(directory=ROOT, logs=place) as family:
        await family.start("stores", "-m", "bench.stores", "--tls-dir", str(tls), *arguments, answers=answer)
        async with asyncio.timeout(READY_PATIENCE):
            told = json.loads(await family.during(first_line(answer)))
        served = tuple(ServedShop(name=ShopName.parse(shop.pop("name")), **shop) for shop in told["shops"])
        yield Stores(pid=family.pids["stores"], family=family, ca_file=told["ca_file"], shops=served)


def _make(place: Path) -> None:
    place.mkdir(parents=True)


async def _serve(specs: Sequence[ShopSpec], tls: TlsFiles) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with serving(specs, tls_dir=None, throttle=False) as store, listening(_app(store), tls) as url:
        gc.freeze()
        print(json.dumps(_ready(store, url, tls)), flush=True)
        await stop.wait()


def _app(store: RunningStore) -> web.Application:
    remembered = {domain: Generations((shop,), remember=True) for domain, shop in store.shops.items()}

    async def answer(request: web.Request) -> web.StreamResponse:
        shop = remembered.get(request.match_info["domain"])
        return web.Response(status=404, text="no such shop") if shop is None else await shop.answer(request)

    app = web.Application()
    app.router.add_route("*", "/{domain}/{path:.*}", answer)
    return app


def _ready(store: RunningStore, url: str, tls: TlsFiles) -> dict[str, object]:
    shops = [
        {
            "name": shop.spec.name,
            "base_url": f"{url}/{domain}",
            "credentials": shop.spec.credentials,
            "items": shop.catalog.item_count,
        }
        for domain, shop in store.shops.items()
    ]
    return {"ca_file": str(tls.ca), "shops": shops}


def main() -> None:
    """Runs until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.stores", description=__doc__)
    parser.add_argument("--shop", action="append", required=True, help="as the devstore's, repeatable")
    parser.add_argument("--tls-dir", type=Path, required=True)
    asked = parser.parse_args()
    # The difficult products are for tests; here they would be noise.
    specs = [replace(parse_shop(shop, seed=SEED), edge_cases=False) for shop in asked.shop]
    asyncio.run(_serve(specs, ensure_certificates(asked.tls_dir)))


if __name__ == "__main__":
    main()
