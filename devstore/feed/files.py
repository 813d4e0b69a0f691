"""Feed files: products as lines, and lines as the bytes of a file in each format."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import json as fast_json

from devstore.catalog.catalog import Catalog
from devstore.catalog.model import Product, Variant
from devstore.catalog.sellable_item import shown_stock
from devstore.feed.quirks import FeedQuirk

_PRODUCT_FIELDS = (
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
_VARIANT_FIELDS = (
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
_MAX_OPTIONS = 3
_CSV_HEADER = (
    *_PRODUCT_FIELDS,
    "tags",
    "image_urls",
    "deleted",
    *(f"variant_{name}" for name in _VARIANT_FIELDS),
    "variant_image_url",
    *(f"option{n}_{part}" for n in range(1, _MAX_OPTIONS + 1) for part in ("name", "value")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """A file and its entry in the manifest."""

    name: str
    body: bytes
    entry: Json
    """The entry without its path."""


def build_file(name: str, lines: Sequence[Json], fmt: str, quirks: Collection[FeedQuirk]) -> PublishedFile:
    """Encode `lines` as a file.

    Args:
        name: "full" or "delta"; the file name also gets a hash of the content and the format as its suffix.
        lines: The products and tombstones.
        fmt: One of FORMATS.
        quirks: The publisher's quirks, some of which falsify the file or its entry.
    """
    kind, _, compression = fmt.partition(".")
    text, rows = _csv(lines) if kind == "csv" else _ndjson(lines)
    if FeedQuirk.CRLF in quirks:
        text = text.replace("\n", "\r\n")
    body = (b"\xef\xbb\xbf" if FeedQuirk.BOM in quirks else b"") + text.encode()
    if compression:
        body = gzip.compress(body, mtime=0)
    if FeedQuirk.TRUNCATED_GZIP in quirks:
        body = body[: len(body) // 2]
    digest = hashlib.sha256(body).hexdigest()
    entry: Json = {
        "format": kind,
        "compression": "gzip" if compression else "none",
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
    writer = csv.DictWriter(out, _CSV_HEADER, restval="", lineterminator="\n")
    writer.writeheader()
    rows = 0
    for line in lines:
        for row in _csv_rows(line):
            writer.writerow(row)
            rows += 1
    return out.getvalue(), rows


def _csv_rows(line: Json) -> Iterator[dict[str, Any]]:
    """Yield one row per variant, and one row for a product without variants."""
    product = {name: line[name] for name in _PRODUCT_FIELDS if name in line}
    if "deleted" in line:
        product["deleted"] = "true"
    product["tags"] = "|".join(line.get("tags", ()))
    product["image_urls"] = " ".join(image["url"] for image in line.get("images", ()))
    variants: Sequence[Json] = line.get("variants") or ({},)
    for variant in variants:
        present = (name for name in _VARIANT_FIELDS if variant.get(name) is not None)
        row = product | {f"variant_{name}": variant[name] for name in present}
        row["variant_image_url"] = variant.get("image", {}).get("url", "")
        for n, option in enumerate(variant.get("options", ()), 1):
            row |= {f"option{n}_{part}": option[part] for part in ("name", "value")}
        yield row


_UNITS = {"KILOGRAMS": "kg", "GRAMS": "g", "OUNCES": "oz", "POUNDS": "lb"}
Json = dict[str, Any]


def product_line(catalog: Catalog, product: Product, site: str) -> Json:
    """Return the line of a product with all its variants; `site` is the base URL of its images."""
    return {
        "id": str(product.id),
        "title": product.title,
        "handle": product.handle,
        "description_html": product.description,
        "vendor": product.vendor,
        "product_type": product.product_type,
        "tags": list(product.tags),
        "status": product.status.lower(),
        "url": f"https://{catalog.spec.domain}/products/{product.handle}",
        "images": [{"url": _url(site, i.id), "id": str(i.id), "alt_text": i.alt} for i in product.images],
        "created_at": product.created.isoformat(),
        "updated_at": product.updated.isoformat(),
        "variants": [_variant_json(product, variant, site) for variant in product.variants],
    }


def tombstone(product_id: int) -> Json:
    """Return the line of a deleted product."""
    return {"id": str(product_id), "deleted": True}


def _variant_json(product: Product, variant: Variant, site: str) -> Json:
    line: Json = {
        "id": str(variant.id),
        "sku": variant.sku,
        "barcode": variant.barcode,
        "price": variant.price or None,
        "compare_at_price": variant.compare_at or None,
        "stock_quantity": shown_stock(product, variant),
        "inventory_policy": "continue" if variant.oversell else "deny",
        "created_at": variant.created.isoformat(),
        "updated_at": variant.updated.isoformat(),
    }
    if variant.weight:
        line |= {"weight": variant.weight, "weight_unit": _UNITS[variant.weight_unit]}
    line |= {"title": variant.title, "options": [{"name": n, "value": v} for n, v in variant.options]}
    if variant.image_id is not None:
        line["image"] = {"url": _url(site, variant.image_id), "id": str(variant.image_id)}
    return line


def _url(site: str, image_id: int) -> str:
    return f"{site}/images/{image_id}.png"
