"""Lines of a feed as the bytes of a file, in each of its formats."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import json as fast_json

from devstore.feed.lines import Json
from devstore.feed.quirk import FeedQuirk

_PRODUCT = (
    "id",
    "title",
    "handle",
    "description_html",
    "vendor",
    "product_type",
    "status",
    "url",
    "created_at",
    "updated_at",
)
_VARIANT = (
    "id",
    "title",
    "sku",
    "barcode",
    "price",
    "compare_at_price",
    "stock_quantity",
    "inventory_policy",
    "weight",
    "weight_unit",
    "created_at",
    "updated_at",
)
_OPTIONS = 3
_HEADER = (
    *_PRODUCT,
    "tags",
    "image_urls",
    "deleted",
    *(f"variant_{name}" for name in _VARIANT),
    "variant_image_url",
    *(f"option{n}_{part}" for n in range(1, _OPTIONS + 1) for part in ("name", "value")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """A file and what a manifest says of it."""

    name: str
    body: bytes
    entry: Json
    """Without the path."""


def published(name: str, lines: Sequence[Json], fmt: str, quirks: Collection[FeedQuirk]) -> PublishedFile:
    """`lines` as a file; `name` gets the hash of its content and its suffix."""
    kind, _, packed = fmt.partition(".")
    text, rows = _csv(lines) if kind == "csv" else _ndjson(lines)
    if FeedQuirk.CRLF in quirks:
        text = text.replace("\n", "\r\n")
    body = (b"\xef\xbb\xbf" if FeedQuirk.BOM in quirks else b"") + text.encode()
    if packed:
        body = gzip.compress(body, mtime=0)
    if FeedQuirk.TRUNCATED_GZIP in quirks:
        body = body[: len(body) // 2]
    digest = hashlib.sha256(body).hexdigest()
    entry: Json = {
        "format": kind,
        "compression": "gzip" if packed else "none",
        "bytes": len(body),
        "sha256": digest[::-1] if FeedQuirk.WRONG_HASH in quirks else digest,
        "row_count": rows + (FeedQuirk.WRONG_ROWS in quirks),
        "product_count": len({line["id"] for line in lines if "deleted" not in line})
        + (FeedQuirk.WRONG_COUNT in quirks),
        "item_count": sum(len(line.get("variants", ())) for line in lines),
    }
    unique = "" if FeedQuirk.FIXED_NAMES in quirks else f"-{digest[:16]}"
    return PublishedFile(name=f"{name}{unique}.{fmt}", body=body, entry=entry)


def _ndjson(lines: Sequence[Json]) -> tuple[str, int]:
    return "".join(fast_json.encode(line).decode() + "\n" for line in lines), len(lines)


def _csv(lines: Iterable[Json]) -> tuple[str, int]:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, _HEADER, restval="", lineterminator="\n")
    writer.writeheader()
    rows = 0
    for line in lines:
        for row in _rows(line):
            writer.writerow(row)
            rows += 1
    return out.getvalue(), rows


def _rows(line: Json) -> Iterator[dict[str, Any]]:
    """A product without variants still is a row."""
    product = {name: line[name] for name in _PRODUCT if name in line}
    if "deleted" in line:
        product["deleted"] = "true"
    product["tags"] = "|".join(line.get("tags", ()))
    product["image_urls"] = " ".join(image["url"] for image in line.get("images", ()))
    variants: Sequence[Json] = line.get("variants") or ({},)
    for variant in variants:
        row = product | {f"variant_{name}": variant[name] for name in _VARIANT if variant.get(name) is not None}
        row["variant_image_url"] = variant.get("image", {}).get("url", "")
        for n, option in enumerate(variant.get("options", ()), 1):
            row |= {f"option{n}_{part}": option[part] for part in ("name", "value")}
        yield row
