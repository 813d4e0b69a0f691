"""`python -m devstore` as a process."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import sys
from pathlib import Path

import aiohttp
import pytest


async def start(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "devstore", *arguments, stdout=pipe, stderr=pipe
    )


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_the_process_reports_readiness_serves_and_stops_cleanly(tls_dir: Path, stop: signal.Signals) -> None:
    process = await start(
        "--listen", "127.0.0.1:0", "--tls-dir", str(tls_dir),
        "--shop", "shopify:a.myshopify.com:products=0", "--shop", "woocommerce:b.example:products=30",
    )  # fmt: skip
    assert process.stdout
    ready = json.loads(await process.stdout.readline())
    shop = ready["shops"]["woocommerce:b.example"]
    assert (shop["products"], set(shop["credentials"])) == (30, {"consumer_key", "consumer_secret"})
    assert shop["listed_products"] == 30 - 2, "two of the edge cases are in the trash"
    trust = ssl.create_default_context(cafile=ready["ca_file"])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:
        async with session.get(f"{ready['listening']}/_control/b.example/truth") as reply:
            assert len((await reply.read()).splitlines()) == shop["items"]
        async with session.get(f"{shop['base_url']}/wp-json/") as reply:
            assert (await reply.json())["home"] == shop["base_url"]
    process.send_signal(stop)
    _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")


async def test_a_wrong_option_is_rejected_with_a_clear_message() -> None:
    process = await start("--shop", "shopify:a.myshopify.com:produtcs=5")
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert b"there is no option 'produtcs' for shopify" in errors
