"""Invalid records that shops were seen to send, and the expected result of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.regressions.record_modifier import Change
from tests.unit.connector_svc.mutation.mutator import NOT_UTF8, nested

SECRET = "shpat_0123456789abcdef0123456789abcdef"
PASSWORD = "correct-horse-battery-staple"
TRUNCATED_SECRET = "=" * 160 + f" https://someone-or-other:{PASSWORD}@store.example/"
"""The reported sample of 200 characters ends within the password."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InvalidRecord:
    """A change that makes one record invalid, and the expected issue and result."""

    change: Change
    reason: str
    field: str
    sample: str = ""
    """The beginning of the expected sample."""
    is_product: bool = False
    """Whether the product is invalid; otherwise its first variant."""
    is_stored: bool = False
    """Whether the record is stored nevertheless, without its invalid value."""
    of_simple_product: bool = False
    """Whether the product has no variants of its own."""
    missing_id: bool = False
    """Whether the record has no id, so that the issue cannot name it."""

    @property
    def outcome(self) -> str:
        """What happens to the record, as docs/connectors.md describes it."""
        if self.reason == "DUPLICATE_ID":
            return "the first record is stored"
        if self.is_stored:
            return "stored without the invalid value"
        return "the product is rejected" if self.is_product else "the variant is rejected, its product is stored"


def with_value(name: str, value: object) -> Change:
    return lambda record: record.update({name: value})


def without(name: str) -> Change:
    return lambda record: record.pop(name) and None


def duplicated(record: dict[str, Any]) -> object:
    return [record, record]


def with_image(image: dict[str, Any]) -> Change:
    return lambda record: record.update(images=[image])


def with_medium(url: object) -> Change:
    medium = {"id": "gid://shopify/MediaImage/9", "alt": "", "image": {"url": url, "width": 1, "height": 1}}
    return lambda record: record["media"].update(nodes=[medium])


SHOPIFY: Mapping[str, InvalidRecord] = {
    "product without id": InvalidRecord(
        change=without("id"), reason="MISSING_ID", field="id", is_product=True, missing_id=True
    ),
    "variant without id": InvalidRecord(change=without("id"), reason="MISSING_ID", field="id", missing_id=True),
    "price 'abc'": InvalidRecord(
        change=with_value("price", "abc"), reason="INVALID_PRICE", field="price", sample="abc"
    ),
    "negative price": InvalidRecord(
        change=with_value("price", "-1"), reason="INVALID_PRICE", field="price", sample="-1"
    ),
    "title too long": InvalidRecord(
        change=with_value("title", "x" * 70_000), reason="TOO_LARGE",
        field="title", sample="x" * 200, is_product=True
    ),
    "SKU too long": InvalidRecord(
        change=with_value("sku", "7" * 3_000), reason="TOO_LARGE", field="sku", sample="7" * 200
    ),
    "stock 'many'": InvalidRecord(
        change=with_value("inventoryQuantity", "many"), reason="INVALID_FIELD",
        field="inventoryQuantity", sample="many"
    ),
    "stock out of range": InvalidRecord(
        change=with_value("inventoryQuantity", 2**70), reason="INVALID_FIELD",
        field="inventoryQuantity", sample="118059"
    ),
    "invalid image URL": InvalidRecord(
        change=with_medium("javascript:1"), reason="INVALID_FIELD", field="image.url", sample="javascript:1",
        is_product=True, is_stored=True,
    ),
    "null image": InvalidRecord(
        change=with_medium(None), reason="INVALID_FIELD", field="url", sample="null", is_product=True
    ),
    "duplicate variant": InvalidRecord(change=duplicated, reason="DUPLICATE_ID", field="", is_stored=True),
    "duplicate product": InvalidRecord(
        change=duplicated, reason="DUPLICATE_ID", field="", is_product=True, is_stored=True
    ),
    "title not UTF-8": InvalidRecord(
        change=with_value("title", NOT_UTF8), reason="INVALID_FIELD", field="title", sample="caf", is_product=True
    ),
    "title with a lone surrogate": InvalidRecord(
        change=with_value("title", "half \ud800"), reason="INVALID_FIELD",
        field="title", sample="half", is_product=True
    ),
    "deeply nested field": InvalidRecord(
        change=with_value("tags", nested(30)), reason="INVALID_FIELD", field="tags", is_product=True
    ),
    "secret in the price": InvalidRecord(
        change=with_value("price", SECRET), reason="INVALID_PRICE", field="price", sample="***"
    ),
    "secret truncated in the sample": InvalidRecord(
        change=with_value("price", TRUNCATED_SECRET), reason="INVALID_PRICE", field="price", sample="=" * 160
    ),
}  # fmt: skip

WOOCOMMERCE: Mapping[str, InvalidRecord] = {
    "product without id": InvalidRecord(
        change=without("id"), reason="MISSING_ID", field="id", is_product=True, missing_id=True
    ),
    "price 'abc'": InvalidRecord(
        change=with_value("price", "abc"), reason="INVALID_PRICE", field="price", sample="abc"
    ),
    "negative price": InvalidRecord(
        change=with_value("price", "-1"), reason="INVALID_PRICE", field="price", sample="-1"
    ),
    "price 'abc' of a product": InvalidRecord(
        change=with_value("price", "abc"), reason="INVALID_PRICE", field="price", sample="abc", is_product=True,
        of_simple_product=True,
    ),
    "title too long": InvalidRecord(
        change=with_value("name", "x" * 70_000), reason="TOO_LARGE", field="name", sample='"xxx', is_product=True
    ),
    "SKU too long": InvalidRecord(
        change=with_value("sku", "7" * 3_000), reason="TOO_LARGE", field="sku", sample='"777'
    ),
    "stock 'many'": InvalidRecord(
        change=with_value("stock_quantity", "many"), reason="INVALID_FIELD",
        field="stock_quantity", sample='"many"'
    ),
    "stock out of range": InvalidRecord(
        change=with_value("stock_quantity", 2**70), reason="INVALID_FIELD", field="stock_quantity", sample="118059"
    ),
    "invalid image URL": InvalidRecord(
        change=with_image({"id": 9, "src": "javascript:1"}), reason="INVALID_FIELD", field="images",
        sample="javascript:1", is_product=True, is_stored=True,
    ),
    "null image": InvalidRecord(
        change=with_value("images", [None]), reason="INVALID_FIELD",
        field="images", sample="[null]", is_product=True,
        is_stored=True,
    ),
    "duplicate product": InvalidRecord(
        change=duplicated, reason="DUPLICATE_ID", field="id", is_product=True, is_stored=True
    ),
    "title not UTF-8": InvalidRecord(
        change=with_value("name", NOT_UTF8), reason="INVALID_FIELD", field="name", sample='"caf', is_product=True
    ),
    "title with a lone surrogate": InvalidRecord(
        change=with_value("name", "half \ud800"), reason="INVALID_FIELD",
        field="name", sample='"half', is_product=True
    ),
    "deeply nested field": InvalidRecord(
        change=with_value("attributes", nested(30)), reason="INVALID_FIELD", field="attributes", is_product=True,
        is_stored=True,
    ),
    "secret in the price": InvalidRecord(
        change=with_value("price", SECRET), reason="INVALID_PRICE", field="price", sample="***"
    ),
    "secret truncated in the sample": InvalidRecord(
        change=with_value("price", TRUNCATED_SECRET), reason="INVALID_PRICE", field="price", sample="=" * 160
    ),
}  # fmt: skip
