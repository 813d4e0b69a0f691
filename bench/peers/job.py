"""What a peer's process is told and what it tells, by means of Python alone: it may have its own environment.

What peers ask a WooCommerce store, so that the store can be asked the same beforehand."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A shop to read, and where to."""

    platform: str
    base_url: str
    """Stands for https://<domain>."""
    ca_file: str
    credentials: dict[str, str]
    database_url: str
    """Of an empty database."""
    directory: str
    """For files of its own."""
    options: dict[str, str] = field(default_factory=dict)
    """The peer's own words."""

    def write(self, file: Path) -> None:
        """For `read` in another process; makes the directory."""
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls) -> Job:
        """From the file that the first argument names."""
        return cls(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a peer's run cost, without the start of its process and its imports."""

    seconds: float
    cpu_seconds: float
    """Of the process and those that it started."""
    peak_mb: float
    """Peak RSS of the process, in MB of 1,000,000 bytes."""
    largest_child_mb: float
    """The same of the largest process that it started; 0: none."""


def run(work: Callable[[], None]) -> None:
    """Does the work and prints what it cost, as the last line."""
    cpu, begin = _cpu(), time.monotonic()
    work()
    told = Told(
        seconds=time.monotonic() - begin,
        cpu_seconds=_cpu() - cpu,
        peak_mb=_peak_mb(resource.RUSAGE_SELF),
        largest_child_mb=_peak_mb(resource.RUSAGE_CHILDREN),
    )
    print(json.dumps(asdict(told)), flush=True)


def _cpu() -> float:
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak_mb(who: int) -> float:
    return resource.getrusage(who).ru_maxrss * 1024 / 1e6


PER_PAGE: Final = 100
_COMMON: Final = (
    "id,status,sku,price,manage_stock,stock_quantity,stock_status,regular_price,sale_price,backorders,weight,"
    "global_unique_id,date_created_gmt,date_modified_gmt,attributes"
)
PRODUCT_FIELDS: Final = f"{_COMMON},name,type,variations,slug,permalink,catalog_visibility,description,images,tags"
VARIATION_FIELDS: Final = f"{_COMMON},parent_id,image"
"""What our connector reads; asked for by who is tuned."""


def listing(*, fields: str = "", kind: str = "") -> dict[str, str]:
    """The parameters of the first page; the others follow from the answer's Link. No fields: all of them."""
    params = {"per_page": str(PER_PAGE), "orderby": "id", "order": "asc"}
    return params | ({"_fields": fields} if fields else {}) | ({"type": kind} if kind else {})
