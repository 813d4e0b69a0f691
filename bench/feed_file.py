"""`make bench-feed`: what does a feed of 1 GiB with lines of 4 MiB cost the connector?

One process publishes the file over HTTP. Another reads it with the connector's own HTTP client and feed platform,
and reports the peak of its resident memory and the longest time for which its event loop did not turn.
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

from bench import report
from bench.proc import cpu_seconds, peak_rss_mb
from bench.stack import workplace
from connector_svc.domain.fetch import Batch, FetchRequest
from connector_svc.domain.shop import Shop
from connector_svc.http.client import open_http
from connector_svc.http.config import Endpoints, HttpConfig
from connector_svc.http.dependencies import utc_now
from connector_svc.platforms.base import Credentials, Secret
from connector_svc.platforms.feed import FeedPlatform
from connector_svc.platforms.feed.keys import WELL_KNOWN

MOST_MB = 150
MOST_PAUSE_SECONDS = 0.25
LINE_BYTES = 4_000_000
SHOP = Shop("feed", "shop.example")
SECRET = "a secret of 32 characters or more for a benchmark"
_PROBE_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Keys:
    """The benchmark's own credentials."""

    async def credentials(self, shop: Shop, *, refused: Credentials | None = None) -> Credentials:
        return {"feed_secret": Secret(SECRET)}


def _lines(count: int) -> Iterator[bytes]:
    for number in range(count):
        line = {"id": str(number), "title": "T", "variants": [{"id": f"v{number}"}], "note": "x" * LINE_BYTES}
        yield json.dumps(line).encode() + b"\n"


def _written(path: Path, count: int) -> str:
    """The signed manifest of a file of `count` lines, which is written to `path`."""
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
async def _published(place: Path, count: int) -> AsyncIterator[str]:
    """The base URL of a publisher whose file has `count` lines."""
    manifest = _written(place / "full.ndjson", count)

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == WELL_KNOWN:
            return web.Response(text=manifest, content_type="application/json")
        return web.FileResponse(place / request.path.removeprefix("/"))

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _longest_pause(stop: asyncio.Event) -> float:
    """The longest time, in seconds, for which the event loop did not turn until `stop`."""
    longest, last = 0.0, time.perf_counter()
    while not stop.is_set():
        await asyncio.sleep(_PROBE_SECONDS)
        now = time.perf_counter()
        longest, last = max(longest, now - last - _PROBE_SECONDS), now
    return longest


async def _read(url: str) -> dict[str, float]:
    """Read the feed at `url` in this process; returns what it cost."""
    stop, products, begin = asyncio.Event(), 0, time.perf_counter()
    async with open_http(HttpConfig(endpoints=Endpoints.of({SHOP.domain: url}))) as http:
        probe = asyncio.create_task(_longest_pause(stop))
        platform = FeedPlatform(http, Keys(), utc_now)
        async for event in platform.fetch(FetchRequest(shop=SHOP), on_wait=lambda _: None):
            products += len(event.products) if isinstance(event, Batch) else 0
        stop.set()
        pause = await probe
    return {
        "products": products,
        "seconds": round(time.perf_counter() - begin, 1),
        "cpu_seconds": round(cpu_seconds(os.getpid()), 1),
        "peak_mb": round(peak_rss_mb(os.getpid()), 1),
        "longest_pause_seconds": round(pause, 3),
    }


async def _measured(megabytes: int) -> dict[str, float]:
    count = max(1, megabytes * 1024 * 1024 // LINE_BYTES)
    with workplace("feed") as place:
        place.mkdir(parents=True, exist_ok=True)
        async with _published(place, count) as url:
            command = (sys.executable, "-m", "bench.feed_file", "--read", url)
            child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            output, _ = await child.communicate()
    found: dict[str, float] = json.loads(output)
    if found["products"] != count:
        raise SystemExit(f"{found['products']} of {count} products were read")
    return found


def main() -> None:
    """Print the figures, and whether they are within the limits."""
    parser = argparse.ArgumentParser(prog="python -m bench.feed_file", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1023, help="size of the file in MiB [default: 1023]")
    parser.add_argument("--read", metavar="URL", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.read:
        print(json.dumps(asyncio.run(_read(asked.read))))
        return
    found = asyncio.run(_measured(asked.megabytes))
    report.show(f"A feed of {asked.megabytes:,} MiB", tuple(found), [tuple(map(str, found.values()))])
    met = found["peak_mb"] <= MOST_MB and found["longest_pause_seconds"] <= MOST_PAUSE_SECONDS
    report.result("feed_file", {**found, "met": met})


if __name__ == "__main__":
    main()
