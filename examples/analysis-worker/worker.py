"""Measures the quality of product images for catalogsync, with catalogsync-client and Pillow.

Usage: python worker.py WORKER_ID    (until Ctrl-C; a name of your choice, unique among the workers)
Requires a running catalog, and the .venv that `make demo` creates (elsewhere: `pip install CHECKOUT/gen
'CHECKOUT/common[http]' CHECKOUT/clients/python pillow`).
CATALOG_ADDRESS is the catalog's address, CATALOG_SERVICE_SECRET this service's "name:secret" (`make demo` prints
its own), CATALOG_CA_FILE the CA of its certificate; without it the connection is not encrypted.
IMAGE_HOSTS are "host:port", separated by commas, that may be called although they are not on the public internet,
and IMAGE_CA_FILE is a CA to trust for images: for development.
"""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from catalogsync.catalog.v1.analysis_service_pb2 import AnalysisResult, AnalysisTask
from catalogsync_client import (
    AnalysisWorker,
    CatalogClient,
    CatalogSyncError,
    ClientTls,
    Disconnect,
    NoCredentials,
    ServiceSecret,
)
from image_download import ImageDownloads, ImageHosts, open_downloads
from image_quality import Assessment, QualityModel, SimilarImages
from model_pool import ModelPool

ANALYZER_NAME: Final = "image-quality"
MAX_IN_FLIGHT: Final = 16
"""Most of them wait for a download; as many images as there are cores are measured at the same time."""
_CATEGORY_TAGS: Final = ("category:", "type:")
_TECHNICAL_TYPES: Final = frozenset(
    {"simple", "variable", "grouped", "external", "subscription", "variable-subscription", "physical", "digital"}
)
"""Product types of WooCommerce and BigCommerce that say how a product is sold, not what it is."""


class ImageQuality:
    """Downloads the image of a task and lets a model assess it."""

    def __init__(self, downloads: ImageDownloads, models: ModelPool) -> None:
        self._downloads = downloads
        self._models = models
        self._similar = SimilarImages()

    async def analyze(self, task: AnalysisTask) -> AnalysisResult:
        """Return the quality of the image. Raises TaskFailed."""
        content = await self._downloads.download(task.image_url)
        assessment = await self._models.assess(content)
        duplicate_of = self._similar.add(task.shop_id, task.image_id, assessment.fingerprint)
        category, subcategory = category_of(task.product_type, task.tags)
        result = AnalysisResult(
            category=category,
            subcategory=subcategory,
            quality_score=f"{assessment.quality_score:f}",
            confidence_score=f"{assessment.confidence_score:f}",
        )
        result.attributes.update(attributes_of(assessment, size_bytes=len(content), duplicate_of=duplicate_of))
        return result


def category_of(product_type: str, tags: Sequence[str]) -> tuple[str, str]:
    """Return category and subcategory as the platform names them; empty if it names none.

    Args:
        product_type: "Shirts", or a path: "Apparel > Shirts > T-Shirts".
        tags: used without a product_type: "category:Shirts" or "type:Shirts".
    """
    marked = (tag.partition(":")[2] for tag in tags if tag.lower().startswith(_CATEGORY_TAGS))
    said = product_type if product_type not in _TECHNICAL_TYPES else ""
    path = [part.strip() for part in (said or next(marked, "")).split(">")]
    return path[0][:255], path[-1][:255] if len(path) > 1 else ""


def attributes_of(assessment: Assessment, *, size_bytes: int, duplicate_of: str) -> dict[str, Any]:
    """Return the findings beside the score, above all why it is what it is. Decimals are texts, to stay exact."""
    return {
        "components": [
            {
                "name": each.name,
                "score": f"{each.score:f}",
                "weight": f"{each.weight:f}",
                "measured": each.measured,
            }
            for each in assessment.components
        ],
        "width": assessment.width,
        "height": assessment.height,
        "size_bytes": size_bytes,
        "colors": [{"color": color, "share": f"{share:f}"} for color, share in assessment.colors],
        "perceptual_hash": f"{assessment.fingerprint.bits:016x}",
        "duplicate_of": duplicate_of,
    }


def image_hosts() -> ImageHosts:
    """Return where images may be downloaded, from the environment."""
    tls = ssl.create_default_context()
    if ca_file := os.environ.get("IMAGE_CA_FILE"):
        tls.load_verify_locations(ca_file)
    exempt = [host.strip() for host in os.environ.get("IMAGE_HOSTS", "").split(",") if host.strip()]
    return ImageHosts(exempt=exempt, tls=tls)


def open_client() -> CatalogClient:
    """Return a client of the catalog, from the environment."""
    secret = os.environ.get("CATALOG_SERVICE_SECRET")
    ca_file = os.environ.get("CATALOG_CA_FILE")
    return CatalogClient(
        os.environ.get("CATALOG_ADDRESS", "127.0.0.1:50051"),
        credentials=ServiceSecret(secret) if secret else NoCredentials(),
        tls=ClientTls.read(ca_file=Path(ca_file)) if ca_file else None,
    )


def report_connection(disconnect: Disconnect | None) -> None:
    """Print that the connection broke, or that it is back."""
    text = f"disconnected: {disconnect.failure.message}" if disconnect else "connected again"
    print(text, file=sys.stderr, flush=True)


def report_error(task: AnalysisTask, error: Exception) -> None:
    """Print where an unexpected error happened, without its text and the address of the image."""
    trace = "".join(traceback.format_tb(error.__traceback__))
    print(f"{task.image_id}: {type(error).__name__}\n{trace}", file=sys.stderr, flush=True)


async def main(worker_id: str) -> int:
    """Analyze until SIGINT or SIGTERM; return the exit code."""
    async with (
        open_client() as client,
        open_downloads(image_hosts()) as downloads,
        ModelPool(QualityModel) as models,
    ):
        worker = AnalysisWorker(
            client,
            ImageQuality(downloads, models),
            name=ANALYZER_NAME,
            worker_id=worker_id,
            model_version=QualityModel.version,
            max_in_flight=MAX_IN_FLIGHT,
            on_connection=report_connection,
            on_error=report_error,
        )
        running: asyncio.Task[None] = asyncio.create_task(worker.run())
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        print(f"{worker_id} waits for tasks of {ANALYZER_NAME}", flush=True)
        try:
            with suppress(asyncio.CancelledError):
                await running
        except CatalogSyncError as error:
            print(f"{error}. {error.what_to_do}", file=sys.stderr)
            return 1
        print(worker.counts, flush=True)
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    sys.exit(asyncio.run(main(sys.argv[1])))
