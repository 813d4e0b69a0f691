"""The job that a peer's process gets and what it reports, with the requests that all WooCommerce peers send.

Imports the standard library only, because a peer may run in an environment of its own.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

PER_PAGE: Final = 100
_COMMON_FIELDS: Final = (
    "id,status,sku,price,manage_stock,stock_quantity,stock_status,regular_price,sale_price,backorders,weight,"
    "global_unique_id,date_created_gmt,date_modified_gmt,attributes"
)
# The fields that our connector reads; requested by tuned peers.
PRODUCT_FIELDS: Final = (
    f"{_COMMON_FIELDS},name,type,variations,slug,permalink,catalog_visibility,description,images,tags"
)
VARIATION_FIELDS: Final = f"{_COMMON_FIELDS},parent_id,image"


def listing_params(*, fields: str = "", product_type: str = "") -> dict[str, str]:
    """Return the parameters of the first page of a WooCommerce list; later pages follow from the Link header.

    Args:
        fields: Comma-separated `_fields`; empty for all of them.
        product_type: Only products of this type; empty for all of them.
    """
    params = {"per_page": str(PER_PAGE), "orderby": "id", "order": "asc"}
    return params | ({"_fields": fields} if fields else {}) | ({"type": product_type} if product_type else {})


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A shop to read, and the database to store it in."""

    platform: str
    base_url: str
    """Stands for https://<domain>."""
    ca_file: str
    credentials: dict[str, str]
    database_url: str
    """Of an empty database."""
    directory: str
    """For the peer's own files."""
    options: dict[str, str] = field(default_factory=dict)
    """Specific to the peer."""

    def write(self, file: Path) -> None:
        """Write the job for `read` in another process; create the directory."""
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls) -> Job:
        """Read the job from the file that the first argument of the process names."""
        return cls(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerReport:
    """What a peer's run cost, without the start of its process and its imports."""

    seconds: float
    cpu_seconds: float
    """Of the process and its children."""
    peak_mb: float
    """Peak RSS of the process, in MB of 1,000,000 bytes."""
    largest_child_mb: float
    """Peak RSS of its largest child process; 0: no child."""


def run(work: Callable[[], None]) -> None:
    """Call `work` and print its PeerReport as the last line."""
    cpu, begin = _cpu_seconds(), time.monotonic()
    work()
    report = PeerReport(
        seconds=time.monotonic() - begin,
        cpu_seconds=_cpu_seconds() - cpu,
        peak_mb=_peak_mb(resource.RUSAGE_SELF),
        largest_child_mb=_peak_mb(resource.RUSAGE_CHILDREN),
    )
    print(json.dumps(asdict(report)), flush=True)


def _cpu_seconds() -> float:
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak_mb(who: int) -> float:
    return resource.getrusage(who).ru_maxrss * 1024 / 1e6
