"""`python -m devstore`: serve simulated shops until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from devstore.options import HELP, InvalidShop, parse_shop
from devstore.server import RunningStore, serving
from devstore.spec import ShopSpec


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve shops until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a signal, 1 when listening on the address fails. A wrong command line exits with 2.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        shops = [parse_shop(text, seed=options.seed) for text in options.shop]
        host, port = _parse_address(options.listen)
        asyncio.run(_serve(shops, host, port, options))
    except (InvalidShop, ValueError) as error:
        parser.error(str(error))
    except OSError as error:
        print(f"devstore: cannot listen on {options.listen}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


async def _serve(shops: Sequence[ShopSpec], host: str, port: int, options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with serving(
        shops,
        tls_dir=options.tls_dir,
        host=host,
        port=port,
        throttle=not options.no_throttle,
        latency=options.latency_ms / 1000,
    ) as store:
        # Schema and index live as long as the process; scanning them again would be GC pauses of 0.3 s.
        gc.freeze()
        print(json.dumps(_ready_line(store)), flush=True)
        await stop.wait()


def _ready_line(store: RunningStore) -> dict[str, object]:
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


def _parse_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"--listen must be host:port, not {text!r}")
    return host, int(port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="devstore",
        description="Serve simulated Shopify, WooCommerce, BigCommerce and feed shops with generated catalogs.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--listen", default="127.0.0.1:8443", help="host:port; port 0 picks a free port")
    parser.add_argument(
        "--tls-dir", type=Path, help="serve https with the certificates of this directory, created when missing"
    )
    parser.add_argument(
        "--seed", type=int, default=7, help="seed of the catalogs; the same seed, the same catalogs"
    )
    parser.add_argument("--shop", action="append", required=True, metavar="SHOP", help="see below; repeatable")
    parser.add_argument("--no-throttle", action="store_true", help="switch the platforms' rate limits off")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="delay added to every API reply")
    return parser


if __name__ == "__main__":
    sys.exit(main())
