"""Broken things that shops were seen to send, and what must come of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.regressions.tampering import Change
from tests.unit.connector_svc.mutation.mutator import NOT_UTF8, nested

SECRET = "shpat_0123456789abcdef0123456789abcdef"
PASSWORD = "correct-horse-battery-staple"
CUT = "=" * 160 + f" https://someone-or-other:{PASSWORD}@store.example/"
"""The 200 characters that are told end within the password."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """One fault of one record, and what must come of it."""

    change: Change
    reason: str
    field: str
    sample: str = ""
    """How it begins."""
    product: bool = False
    """Whether it is the product that is broken; else its first variant."""
    stays: bool = False
    """Whether the record is stored nevertheless."""
    simple: bool = False
    """Whether the product is one without variants of its own."""
    nameless: bool = False
    """Whether nothing is left that names the record."""

    @property
    def outcome(self) -> str:
        """What becomes of the record."""
        if self.stays:
            return "stored without it"
        return "the product is set aside" if self.product else "the variant is set aside, its product is stored"


def with_value(name: str, value: object) -> Change:
    return lambda record: record.update({name: value})


def without(name: str) -> Change:
    return lambda record: record.pop(name) and None


def twice(record: dict[str, Any]) -> object:
    return [record, record]


def with_image(picture: dict[str, Any]) -> Change:
    return lambda record: record.update(images=[picture])


def with_medium(url: object) -> Change:
    medium = {"id": "gid://shopify/MediaImage/9", "alt": "", "image": {"url": url, "width": 1, "height": 1}}
    return lambda record: record["media"].update(nodes=[medium])


SHOPIFY: Mapping[str, Broken] = {
    "product without id": Broken(
        change=without("id"), reason="MISSING_ID", field="id", product=True, nameless=True
    ),
    "variant without id": Broken(change=without("id"), reason="MISSING_ID", field="id", nameless=True),
    "price abc": Broken(change=with_value("price", "abc"), reason="INVALID_PRICE", field="price", sample="abc"),
    "negative price": Broken(change=with_value("price", "-1"), reason="INVALID_PRICE", field="price", sample="-1"),
    "long title": Broken(
        change=with_value("title", "x" * 70_000), reason="TOO_LARGE", field="title", sample="x" * 200, product=True
    ),
    "long sku": Broken(change=with_value("sku", "7" * 3_000), reason="TOO_LARGE", field="sku", sample="7" * 200),
    "stock many": Broken(
        change=with_value("inventoryQuantity", "many"), reason="INVALID_FIELD",
        field="inventoryQuantity", sample="many"
    ),
    "stock beyond all bounds": Broken(
        change=with_value("inventoryQuantity", 2**70), reason="INVALID_FIELD",
        field="inventoryQuantity", sample="118059"
    ),
    "broken image": Broken(
        change=with_medium("javascript:1"), reason="INVALID_FIELD", field="image.url", sample="javascript:1",
        product=True, stays=True,
    ),
    "image of nothing": Broken(
        change=with_medium(None), reason="INVALID_FIELD", field="url", sample="null", product=True
    ),
    "variant twice": Broken(change=twice, reason="DUPLICATE_ID", field="", stays=True),
    "product twice": Broken(change=twice, reason="DUPLICATE_ID", field="", product=True, stays=True),
    "no utf-8": Broken(
        change=with_value("title", NOT_UTF8), reason="INVALID_FIELD", field="title", sample="caf", product=True
    ),
    "half a character": Broken(
        change=with_value("title", "half \ud800"), reason="INVALID_FIELD",
        field="title", sample="half", product=True
    ),
    "nested": Broken(change=with_value("tags", nested(30)), reason="INVALID_FIELD", field="tags", product=True),
    "secret": Broken(change=with_value("price", SECRET), reason="INVALID_PRICE", field="price", sample="***"),
    "secret across the cut": Broken(
        change=with_value("price", CUT), reason="INVALID_PRICE", field="price", sample="=" * 160
    ),
}  # fmt: skip

WOOCOMMERCE: Mapping[str, Broken] = {
    "product without id": Broken(
        change=without("id"), reason="MISSING_ID", field="id", product=True, nameless=True
    ),
    "price abc": Broken(change=with_value("price", "abc"), reason="INVALID_PRICE", field="price", sample="abc"),
    "negative price": Broken(change=with_value("price", "-1"), reason="INVALID_PRICE", field="price", sample="-1"),
    "price abc of a product": Broken(
        change=with_value("price", "abc"), reason="INVALID_PRICE", field="price", sample="abc", product=True,
        simple=True,
    ),
    "long title": Broken(
        change=with_value("name", "x" * 70_000), reason="TOO_LARGE", field="name", sample='"xxx', product=True
    ),
    "long sku": Broken(change=with_value("sku", "7" * 3_000), reason="TOO_LARGE", field="sku", sample='"777'),
    "stock many": Broken(
        change=with_value("stock_quantity", "many"), reason="INVALID_FIELD",
        field="stock_quantity", sample='"many"'
    ),
    "stock beyond all bounds": Broken(
        change=with_value("stock_quantity", 2**70), reason="INVALID_FIELD", field="stock_quantity", sample="118059"
    ),
    "broken image": Broken(
        change=with_image({"id": 9, "src": "javascript:1"}), reason="INVALID_FIELD", field="images",
        sample="javascript:1", product=True, stays=True,
    ),
    "image of nothing": Broken(
        change=with_value("images", [None]), reason="INVALID_FIELD", field="images", sample="[null]", product=True,
        stays=True,
    ),
    "product twice": Broken(change=twice, reason="DUPLICATE_ID", field="id", product=True, stays=True),
    "no utf-8": Broken(
        change=with_value("name", NOT_UTF8), reason="INVALID_FIELD", field="name", sample='"caf', product=True
    ),
    "half a character": Broken(
        change=with_value("name", "half \ud800"), reason="INVALID_FIELD",
        field="name", sample='"half', product=True
    ),
    "nested": Broken(
        change=with_value("attributes", nested(30)), reason="INVALID_FIELD", field="attributes", product=True,
        stays=True,
    ),
    "secret": Broken(change=with_value("price", SECRET), reason="INVALID_PRICE", field="price", sample='***'),
    "secret across the cut": Broken(
        change=with_value("price", CUT), reason="INVALID_PRICE", field="price", sample="=" * 160
    ),
}  # fmt: skip
