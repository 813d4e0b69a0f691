"""`python -m devstore`: serves shops until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from devstore.options import HELP, BadShop, parse_shop
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; 2 when the command line is wrong, 1 when the address is taken."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    try:
        shops = [parse_shop(text, seed=asked.seed) for text in asked.shop]
        host, port = _address(asked.listen)
        asyncio.run(_serve(shops, host, port, asked))
    except (BadShop, ValueError) as error:
        parser.error(str(error))
    except OSError as error:
        print(f"devstore: cannot listen on {asked.listen}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


async def _serve(shops: Sequence[ShopSpec], host: str, port: int, asked: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with serving(
        shops,
        tls_dir=asked.tls_dir,
        host=host,
        port=port,
        throttle=not asked.no_throttle,
        latency=asked.latency_ms / 1000,
    ) as store:
        # Schema and index live as long as the process; looking through them again costs 0.3 s pauses.
        gc.freeze()
        print(json.dumps(_ready(store)), flush=True)
        await stop.wait()


def _ready(store: RunningStore) -> dict[str, object]:
    shops = {
        shop.spec.name: {
            "base_url": store.base_url(domain),
            "credentials": store.credentials(domain),
            "products": len(shop.catalog),
            "listed_products": shop.catalog.listed_count,
            "items": shop.catalog.item_count,
        }
        for domain, shop in store.shops.items()
    }
    ca_file = str(store.ca_file) if store.ca_file else None
    return {"listening": store.url, "ca_file": ca_file, "shops": shops}


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"--listen must be host:port, not {text!r}")
    return host, int(port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="devstore",
        description="Serves generated shops as Shopify and WooCommerce.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--listen", default="127.0.0.1:8443", help="host:port; port 0 takes a free one")
    parser.add_argument("--tls-dir", type=Path, help="serve https with the certificates made in this directory")
    parser.add_argument("--seed", type=int, default=7, help="the same seed always serves the same catalogs")
    parser.add_argument("--shop", action="append", required=True, metavar="SHOP", help="see below; repeatable")
    parser.add_argument("--no-throttle", action="store_true", help="never answer THROTTLED")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="added to every API reply")
    return parser


if __name__ == "__main__":
    sys.exit(main())
