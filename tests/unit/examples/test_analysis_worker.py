"""examples/analysis-worker as a process: each image gets a score or a failure that says why; a stop is clean."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from catalogsync_client import TaskFailed
from google.protobuf.json_format import MessageToJson
from image_quality import QualityModel
from model_pool import ModelPool
from worker import category_of

from tests.fakes.analysis_service import FakeTask
from tests.fakes.catalog_service import CatalogServer
from tests.fakes.crashing_model import CRASH, CrashingModel
from tests.fakes.image_host import ImageHost
from tests.fakes.sample_pictures import blurred, decompression_bomb, encoded, product_picture
from tests.waiting import until, within_timeout

ROOT = Path(__file__).parents[3]
WORKER = ROOT / "examples/analysis-worker/worker.py"


@pytest.fixture
async def host() -> AsyncIterator[ImageHost]:
    host = ImageHost()
    await host.start()
    yield host
    await host.stop()


@asynccontextmanager
async def worker_process(server: CatalogServer, host: ImageHost) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        WORKER,
        "worker-1",
        env={**os.environ, "CATALOG_ADDRESS": server.address, "IMAGE_HOSTS": host.name},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def add_task(server: CatalogServer, url: str, **fields: str) -> FakeTask:
    (task,) = server.analysis.add_tasks(1, image_url=url, **fields)
    return task


async def test_each_image_gets_a_score_or_a_reason_and_the_worker_ends_cleanly(
    server: CatalogServer, host: ImageHost
) -> None:
    good = add_task(
        server, host.serves("/good", encoded(product_picture())), product_type="Apparel > Shirts > T-Shirts"
    )
    bad = add_task(server, host.serves("/blurred", encoded(blurred(product_picture(), 8))))
    failures = {
        "IMAGE_NOT_FOUND": add_task(server, host.url("/missing")),
        "IMAGE_TOO_LARGE": add_task(server, host.serves("/bomb", decompression_bomb())),
        "IMAGE_UNREADABLE": add_task(server, host.serves("/damaged", b"damaged")),
        "ADDRESS_FORBIDDEN": add_task(server, host.redirects("/inside", "http://127.0.0.1:1/")),
    }
    async with worker_process(server, host) as process:
        await until(lambda: not any(task.is_open for task in server.analysis.tasks))
        silent = add_task(server, host.keeps_silent("/silent"))
        await until(lambda: silent.lease_id)
        process.send_signal(signal.SIGTERM)
        out, _ = await within_timeout(process.communicate())
    assert process.returncode == 0, out.decode()
    assert b"stored=2" in out
    assert b"returned=1" in out
    assert (silent.is_open, silent.lease_id, silent.attempt_count) == (True, "", 0)
    assert {reason: task.failure.reason for reason, task in failures.items() if task.failure} == {
        reason: reason for reason in failures
    }
    assert good.result is not None
    assert bad.result is not None
    assert Decimal(good.result.quality_score) > Decimal(bad.result.quality_score)
    assert (good.result.category, good.result.subcategory) == ("Apparel", "T-Shirts")
    assert (bad.result.category, bad.result.subcategory) == ("", "")
    assert good.result.model_version == QualityModel.version


async def test_the_attributes_of_a_result_say_why_in_exact_decimals(
    server: CatalogServer, host: ImageHost
) -> None:
    task = add_task(server, host.serves("/image", encoded(product_picture(is_busy=True))))
    async with worker_process(server, host):
        await until(lambda: task.result)
    assert task.result is not None
    found = task.result.attributes["components"]
    components = [dict(each.struct_value.fields) for each in found.values]  # type: ignore[union-attr]
    texts = [{name: value.string_value for name, value in each.items()} for each in components]
    assert [set(each) for each in texts] == [{"name", "score", "weight", "measured"}] * 5
    total = sum((Decimal(each["score"]) * Decimal(each["weight"]) for each in texts), Decimal())
    assert Decimal(task.result.quality_score) == total.quantize(Decimal("0.001"))
    assert len(MessageToJson(task.result.attributes)) < 16 * 1024


@pytest.mark.parametrize(
    ("product_type", "tags", "expected"),
    [
        ("Shirts", ["category:Other"], ("Shirts", "")),
        ("Apparel > Shirts", [], ("Apparel", "Shirts")),
        ("", ["sale", "Type: Shoes"], ("Shoes", "")),
        ("variable", ["category:Shoes > Boots"], ("Shoes", "Boots")),
        ("physical", [], ("", "")),
        ("", ["sale", "summer"], ("", "")),
        ("", [], ("", "")),
        ("x" * 300, [], ("x" * 255, "")),
    ],
)
def test_the_category_is_what_the_platform_says(
    product_type: str, tags: list[str], expected: tuple[str, str]
) -> None:
    assert category_of(product_type, tags) == expected


async def test_images_are_assessed_in_another_process() -> None:
    async with ModelPool(CrashingModel, processes=1) as models:
        assert (await within_timeout(models.assess(b""))).width != os.getpid()


async def test_an_image_that_crashes_its_process_fails_and_the_next_one_is_assessed() -> None:
    async with ModelPool(CrashingModel, processes=1) as models:
        with pytest.raises(TaskFailed, match="PROCESS_DIED") as caught:
            await within_timeout(models.assess(CRASH))
        assert not caught.value.permanent
        assert (await within_timeout(models.assess(b""))).width > 0


async def test_a_failure_of_the_model_comes_back_from_its_process() -> None:
    async with ModelPool(QualityModel, processes=1) as models:
        with pytest.raises(TaskFailed) as caught:
            await within_timeout(models.assess(b"damaged"))
    assert (caught.value.reason, caught.value.permanent) == ("IMAGE_UNREADABLE", True)
