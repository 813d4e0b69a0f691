"""A real Prometheus, from the Debian package `prometheus`, and promtool."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from demo.processes import last_lines
from tests.e2e.conftest import free_port
from tests.waiting import until_found

_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/bin:/usr/sbin"
PROMETHEUS: Final = shutil.which("prometheus", path=_PATH)
PROMTOOL: Final = shutil.which("promtool", path=_PATH)
needs_prometheus: Final = pytest.mark.skipif(
    PROMETHEUS is None or PROMTOOL is None,
    reason="Prometheus is not installed: apt-get install prometheus",
)
_SCRAPE_INTERVAL: Final = "500ms"


def promtool(*arguments: str | Path) -> str:
    """Run promtool and return its output. Raises AssertionError with it when promtool finds something wrong."""
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Prometheus:
    """The HTTP API of a running Prometheus."""

    def __init__(self, address: str, session: aiohttp.ClientSession) -> None:
        self._url = f"http://{address}/api/v1"
        self._session = session

    async def query_range(self, expression: str, *, start: float, end: float) -> list[dict[str, Any]]:
        """Return the series of a query for each second between two Unix times."""
        times = {"start": f"{start:.0f}", "end": f"{end:.0f}", "step": "1"}
        found: list[dict[str, Any]] = (await self._get("query_range", query=expression, **times))["result"]
        return found

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an instant query."""
        found: list[dict[str, Any]] = (await self._get("query", query=expression))["result"]
        return found

    async def healthy_targets(self) -> int:
        """Return how many targets were scraped successfully."""
        return sum(target["health"] == "up" for target in (await self._get("targets"))["activeTargets"])

    async def _get(self, path: str, **parameters: str) -> dict[str, Any]:
        async with self._session.get(f"{self._url}/{path}", params=parameters) as reply:
            answer = await reply.json()
        assert answer["status"] == "success", answer
        data: dict[str, Any] = answer["data"]
        return data


def configuration(targets: Mapping[str, Sequence[str]], *, alert_receiver: str) -> str:
    """Return a configuration that scrapes these addresses by job, with the rules in rules.yml beside it."""
    jobs = [
        {"job_name": job, "static_configs": [{"targets": list(addresses)}]} for job, addresses in targets.items()
    ]
    times = {
        "scrape_interval": _SCRAPE_INTERVAL,
        "evaluation_interval": _SCRAPE_INTERVAL,
        "scrape_timeout": "400ms",
    }
    receivers = [{"static_configs": [{"targets": [alert_receiver]}], "api_version": "v2"}]
    return json.dumps(  # JSON is YAML.
        {
            "global": times,
            "rule_files": ["rules.yml"],
            "scrape_configs": jobs,
            "alerting": {"alertmanagers": receivers},
        }
    )


@asynccontextmanager
async def running_prometheus(
    directory: Path, *, rules: str, targets: Mapping[str, Sequence[str]], alert_receiver: str
) -> AsyncIterator[Prometheus]:
    """Run Prometheus in a new directory while the context lasts.

    Args:
        directory: Where it stores everything.
        rules: The content of its file with rules.
        targets: Addresses to scrape, by job.
        alert_receiver: The address that alerts are sent to, as to an Alertmanager.
    """
    assert PROMETHEUS is not None
    await asyncio.to_thread(directory.mkdir, parents=True)
    config, log_file = directory / "prometheus.yml", directory / "prometheus.log"
    (directory / "rules.yml").write_text(rules)
    config.write_text(configuration(targets, alert_receiver=alert_receiver))
    await asyncio.to_thread(promtool, "check", "config", config)
    address = f"127.0.0.1:{free_port()}"
    with log_file.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            PROMETHEUS,
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={address}",
            # Samples after a pause in scraping are not looked for further back.
            "--query.lookback-delta=5s",
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession() as session:
            await until_found(lambda: _is_ready(session, address, process, log_file))
            yield Prometheus(address, session)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _is_ready(
    session: aiohttp.ClientSession, address: str, process: asyncio.subprocess.Process, log: Path
) -> bool | None:
    assert process.returncode is None, last_lines(log, 10)
    try:
        async with session.get(f"http://{address}/-/ready") as reply:
            return True if reply.status == 200 else None
    except aiohttp.ClientError:
        return None
