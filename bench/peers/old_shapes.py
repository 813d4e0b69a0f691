"""What the old design makes of a platform's JSON: the values of a product's row and of its items' rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class OldRecord:
    """A product with its items, by column."""

    product: dict[str, Any]
    items: list[dict[str, Any]]


def from_shopify(node: Mapping[str, Any]) -> OldRecord:
    """A product of the old system's query, which asks for fewer fields than we do."""
    product_id = _number(node["id"])
    product = {
        "product_id": product_id,
        "title": node["title"],
        "handle": node["handle"],
        "description_html": node["descriptionHtml"],
        "vendor": node["vendor"],
        "product_type": node["productType"],
        "tags": node["tags"],
        "status": node["status"],
        "options": [],
        "images": [image["id"] for image in node["media"]["nodes"]],
        "source_created_at": datetime.fromisoformat(node["createdAt"]),
        "source_updated_at": datetime.fromisoformat(node["updatedAt"]),
    }
    variants = enumerate(node["variants"]["nodes"], 1)
    return _record(product, [_shopify_item(product_id, position, variant) for position, variant in variants])


def from_woocommerce(row: Mapping[str, Any], variations: Sequence[Mapping[str, Any]]) -> OldRecord:
    """A product; its variations, or the product itself, are the items."""
    product_id = str(row["id"])
    product = {
        "product_id": product_id,
        "title": row["name"],
        "handle": row["slug"],
        "description_html": row["description"],
        "product_type": row["type"],
        "tags": [tag["name"] for tag in row["tags"]],
        "status": row["status"],
        "url": row["permalink"],
        "options": [{"name": one["name"], "values": one["options"]} for one in row["attributes"]],
        "images": [image["src"] for image in row["images"]],
        "source_created_at": _utc(row["date_created_gmt"]),
        "source_updated_at": _utc(row["date_modified_gmt"]),
    }
    sold = variations if row["type"] == "variable" else [row]
    return _record(product, [_woo_item(product_id, position, one) for position, one in enumerate(sold, 1)])


def _record(product: dict[str, Any], items: list[dict[str, Any]]) -> OldRecord:
    return OldRecord(product={**product, "content_hash": b"", "item_count": len(items)}, items=items)


def _shopify_item(product_id: str, position: int, variant: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "item_id": _number(variant["id"]),
        "product_id": product_id,
        "position": position,
        "title": variant["title"],
        "sku": variant["sku"] or "",
        "price": float(variant["price"]),
        "stock_quantity": variant["inventoryQuantity"],
        "available": (variant["inventoryQuantity"] or 0) > 0,
        "sellable_without_stock": False,
        "options": variant["selectedOptions"],
    }


def _woo_item(product_id: str, position: int, row: Mapping[str, Any]) -> dict[str, Any]:
    picture = row.get("image")
    return {
        "item_id": str(row["id"]),
        "product_id": product_id,
        "position": position,
        "title": row.get("name", ""),
        "sku": row["sku"],
        "price": _float(row["price"]),
        "compare_at_price": _float(row["regular_price"]),
        "stock_quantity": row["stock_quantity"],
        "available": row["stock_status"] == "instock",
        "sellable_without_stock": row["backorders"] != "no",
        "options": [{"name": one["name"], "value": one.get("option", "")} for one in row["attributes"]],
        "image_url": picture["src"] if picture else "",
        "weight": _float(row["weight"]),
        "source_created_at": _utc(row["date_created_gmt"]),
        "source_updated_at": _utc(row["date_modified_gmt"]),
    }


def _number(gid: str) -> str:
    return gid.rpartition("/")[2]


def _float(text: str) -> float | None:
    return float(text) if text else None


def _utc(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None
