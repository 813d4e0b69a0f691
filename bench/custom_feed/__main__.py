"""`make bench-custom-feed`: what does a feed of 1 GiB with lines of 4 MB cost the connector?

One process publishes the file over HTTP. Another reads it with the connector's own HTTP client and feed platform,
and reports the peak of its resident memory and the longest stall of its event loop.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web

from bench.common.machine import cpu_seconds, peak_rss_mb
from bench.common.report import print_result, print_table
from bench.common.stack import temporary_directory
from connector_svc.domain.fetch import Batch, FetchRequest
from connector_svc.domain.shop import Shop
from connector_svc.http.client import open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.http.dependencies import utc_now
from connector_svc.platforms.base import Credentials, Secret
from connector_svc.platforms.feed import FeedPlatform
from connector_svc.platforms.feed.client import MANIFEST_PATH

MAX_PEAK_MB = 150
MAX_STALL_SECONDS = 0.25
LINE_BYTES = 4_000_000
SHOP = Shop("feed", "shop.example")
SECRET = "a secret of 32 characters or more for a benchmark"
_PROBE_INTERVAL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class FeedCredentials:
    """Always the secret of the benchmark's feed."""

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        return {"feed_secret": Secret(SECRET)}


def _lines(count: int) -> Iterator[bytes]:
    for number in range(count):
        line = {"id": str(number), "title": "T", "variants": [{"id": f"v{number}"}], "note": "x" * LINE_BYTES}
        yield json.dumps(line).encode() + b"\n"


def _write_feed(path: Path, count: int) -> str:
    """Write a feed file of `count` lines, and return its signed manifest."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for line in _lines(count):
            file.write(line)
            digest.update(line)
            size += len(line)
    now = datetime.now(UTC)
    full = {"path": f"/{path.name}", "format": "ndjson", "bytes": size, "sha256": digest.hexdigest()}
    manifest = {
        "format": "catalogsync-feed/1",
        "domain": SHOP.domain,
        "currency": "EUR",
        "generated_at": now.isoformat(),
        "valid_until": (now + timedelta(days=1)).isoformat(),
        "full": full | {"row_count": count, "product_count": count},
    }
    text = json.dumps(manifest)
    signature = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
    return json.dumps({"manifest": text, "signatures": [signature]})


@asynccontextmanager
async def _running_publisher(directory: Path, count: int) -> AsyncIterator[str]:
    """Publish a file of `count` lines, and yield the base URL."""
    manifest = _write_feed(directory / "full.ndjson", count)

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == MANIFEST_PATH:
            return web.Response(text=manifest, content_type="application/json")
        return web.FileResponse(directory / request.path.removeprefix("/"))

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _longest_stall(stop: asyncio.Event) -> float:
    """Return the longest stall of the event loop until `stop` is set, in seconds."""
    longest, last = 0.0, time.perf_counter()
    while not stop.is_set():
        await asyncio.sleep(_PROBE_INTERVAL_SECONDS)
        now = time.perf_counter()
        longest, last = max(longest, now - last - _PROBE_INTERVAL_SECONDS), now
    return longest


async def _read(url: str) -> dict[str, float]:
    """Read the feed at `url` in this process, and return what it cost."""
    stop, products, begin = asyncio.Event(), 0, time.perf_counter()
    async with open_http(HttpConfig(endpoints=Endpoints.of({SHOP.domain: url}))) as http:
        probe = asyncio.create_task(_longest_stall(stop))
        platform = FeedPlatform(http, FeedCredentials(), utc_now)
        async for event in platform.fetch(FetchRequest(shop=SHOP), on_wait=lambda _: None):
            products += len(event.products) if isinstance(event, Batch) else 0
        stop.set()
        stall = await probe
    return {
        "products": products,
        "seconds": round(time.perf_counter() - begin, 1),
        "cpu_seconds": round(cpu_seconds(os.getpid()), 1),
        "peak_mb": round(peak_rss_mb(os.getpid()), 1),
        "longest_pause_seconds": round(stall, 3),
    }


async def _measure(mebibytes: int) -> dict[str, float]:
    count = max(1, mebibytes * 1024 * 1024 // LINE_BYTES)
    with temporary_directory("custom-feed") as directory:
        async with _running_publisher(directory, count) as url:
            command = (sys.executable, "-m", "bench.custom_feed", "--read", url)
            child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            output, _ = await child.communicate()
    found: dict[str, float] = json.loads(output)
    if found["products"] != count:
        raise SystemExit(f"{found['products']} of {count} products were read")
    return found


def main() -> None:
    """Print the figures and the RESULT line, which says whether they are within the limits."""
    parser = argparse.ArgumentParser(prog="python -m bench.custom_feed", description=__doc__)
    parser.add_argument("--mebibytes", type=int, default=1023, help="size of the file in MiB [default: 1023]")
    parser.add_argument("--read", metavar="URL", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        print(json.dumps(asyncio.run(_read(args.read))))
        return
    found = asyncio.run(_measure(args.mebibytes))
    print_table(f"A feed of {args.mebibytes:,} MiB", tuple(found), [tuple(map(str, found.values()))])
    met = found["peak_mb"] <= MAX_PEAK_MB and found["longest_pause_seconds"] <= MAX_STALL_SECONDS
    print_result("custom_feed", {**found, "met": met})


if __name__ == "__main__":
    main()
