"""Shops that take their time, so that a sync of them runs for as long as a benchmark wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from catalogsync_cli.shop import ShopName

from bench.common.stack import READY_PATIENCE, ROOT
from bench.common.store import ServedShop
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
    async with ProcessGroup(directory=ROOT, logs=place) as family:
        await family.start("paced", "-m", "devstore", *arguments, *words, stdout=answer)
        async with asyncio.timeout(READY_PATIENCE):
            told = json.loads(await family.supervise(read_first_line(answer)))
        yield tuple(
            ServedShop(
                name=ShopName.parse(name),
                base_url=shop["base_url"],
                credentials=shop["credentials"],
                items=shop["items"],
            )
            for name, shop in told["shops"].items()
        )


def _made(place: Path) -> Path:
    place.mkdir(parents=True)
    return place
