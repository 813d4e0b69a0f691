"""Shops that take their time, so that a sync of them runs for as long as a benchmark wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from catalogsync_cli.shop import ShopName

from bench.common.results import ROOT
from bench.common.store import READY_TIMEOUT_SECONDS, ServedShop
from demo.processes import ProcessGroup
from demo.stack import read_first_line


@asynccontextmanager
async def paced_shops(
    place: Path, shops: Sequence[str], *, tls: Path, latency_ms: int
) -> AsyncIterator[tuple[ServedShop, ...]]:
    """A devstore with these shops, written as its --shop, that adds `latency_ms` to every reply."""
    answer = _made(place) / "paced.json"
    arguments = ["--listen", "127.0.0.1:0", "--tls-dir", str(tls), "--no-throttle"]
    arguments += ["--latency-ms", str(latency_ms)]
    words = [word for shop in shops for word in ("--shop", shop)]
    async with ProcessGroup(directory=ROOT, logs=place) as processes:
        await processes.start("paced", "-m", "devstore", *arguments, *words, stdout=answer)
        async with asyncio.timeout(READY_TIMEOUT_SECONDS):
            told = json.loads(await processes.supervise(read_first_line(answer)))
        yield tuple(
            ServedShop(
                name=ShopName.parse(name),
                base_url=shop["base_url"],
                credentials=shop["credentials"],
                products=shop["listed_products"],
                items=shop["items"],
            )
            for name, shop in told["shops"].items()
        )


def _made(place: Path) -> Path:
    place.mkdir(parents=True)
    return place
