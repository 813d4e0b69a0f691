"""Builds the issues that describe what is wrong with a record."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from connector_svc.domain.records import SAMPLE_LENGTH, IssueReason, RecordIssue, is_too_long
from connector_svc.platforms.shopify.graphql_response import GraphqlError

_PRICE_FIELDS = frozenset({"price", "compareAtPrice"})


def undecodable(
    raw: msgspec.Raw, error: Exception, *, product_id: str, variant_id: str = "", is_product: bool
) -> RecordIssue:
    """Return the issue of a node that does not follow the schema, with the offending field and its value."""
    if isinstance(error, UnicodeDecodeError):
        return _not_utf8(raw, product_id=product_id, variant_id=variant_id, is_product=is_product)
    text = str(error)
    missing = re.search(r"missing required field `(\w+)`", text)
    steps = re.findall(r"\.(\w+)|\[(\d+)\]", (re.search(r"at `\$(.*)`", text) or ["", ""])[1])
    names = [name for name, _ in steps if name]
    field = missing[1] if missing else (names[-1] if names else "")
    return RecordIssue(
        reason=IssueReason.TOO_LARGE if is_too_long(error) else _reason(field, is_missing=bool(missing)),
        message=text.rpartition(" - at ")[0] or text,
        product_id=product_id,
        variant_id=variant_id,
        field=field,
        sample="" if missing else _sample(raw, steps),
        product_rejected=is_product,
    )


def decode_lossy(raw: msgspec.Raw) -> Any:
    """Decode a node, with U+FFFD in place of invalid UTF-8; None when it is no JSON or nested too deeply."""
    try:
        return msgspec.json.decode(bytes(raw).decode(errors="replace"))
    except (msgspec.DecodeError, RecursionError):
        return None


def _not_utf8(raw: msgspec.Raw, *, product_id: str, variant_id: str, is_product: bool) -> RecordIssue:
    value = decode_lossy(raw)
    fields = value.items() if isinstance(value, dict) else ()
    name, text = next(((key, text) for key, text in fields if "\ufffd" in str(text)), ("", ""))
    return RecordIssue(
        reason=IssueReason.INVALID_FIELD,
        message="the text is not valid UTF-8",
        product_id=product_id,
        variant_id=variant_id,
        field=name,
        sample=str(text)[:SAMPLE_LENGTH],
        product_rejected=is_product,
    )


def reported(error: GraphqlError, *, product_id: str, variant_id: str = "", is_product: bool) -> RecordIssue:
    """Return the issue of a record for which Shopify reported an error."""
    names = [step for step in error.path or () if isinstance(step, str)]
    return RecordIssue(
        reason=IssueReason.SOURCE_ERROR,
        message=f"Shopify answered with an error for this record ({error.code or 'no code'})",
        product_id=product_id,
        variant_id=variant_id,
        field=names[-1] if names and names[-1] not in {"nodes", "product"} else "",
        product_rejected=is_product,
    )


def unreadable(product_id: str) -> RecordIssue:
    """Return the issue of a product that Shopify fails to deliver even when it is requested alone."""
    return RecordIssue(
        reason=IssueReason.SOURCE_ERROR,
        message="Shopify fails to deliver this product, even when it is requested alone",
        product_id=product_id,
        product_rejected=True,
    )


def missing_id(gid: str, product_id: str = "") -> RecordIssue:
    """Return the issue of a product, or of a variant of `product_id`, without a usable id."""
    return RecordIssue(
        reason=IssueReason.MISSING_ID,
        message=f"the {'variant' if product_id else 'product'} has no usable id",
        product_id=product_id,
        field="id",
        sample=gid[:SAMPLE_LENGTH],
        product_rejected=not product_id,
    )


def invalid_price(product_id: str, variant_id: str, field: str, value: object) -> RecordIssue:
    """Return the issue of a price that is not an amount of money."""
    return RecordIssue(
        reason=IssueReason.INVALID_PRICE,
        message="the price is not a decimal number of at least zero",
        product_id=product_id,
        variant_id=variant_id,
        field=field,
        sample=str(value)[:SAMPLE_LENGTH],
    )


def invalid_weight(product_id: str, variant_id: str, value: object, unit: str) -> RecordIssue:
    """Return the issue of an invalid weight; the variant is kept."""
    return RecordIssue(
        reason=IssueReason.INVALID_FIELD,
        message="the weight is not a number of at least zero in g, kg, oz or lb; the variant is stored without it",
        product_id=product_id,
        variant_id=variant_id,
        field="weight",
        sample=f"{value} {unit}"[:SAMPLE_LENGTH],
    )


def invalid_image(product_id: str, url: str) -> RecordIssue:
    """Return the issue of an image without a usable URL; the product is kept without the image."""
    return RecordIssue(
        reason=IssueReason.INVALID_FIELD,
        message="the image has no http or https URL; the product is stored without it",
        product_id=product_id,
        field="image.url",
        sample=url[:SAMPLE_LENGTH],
    )


def image_not_ready(product_id: str, gid: str) -> RecordIssue:
    """Return the issue of an image that Shopify has not processed yet or could not process.

    The product is kept without the image.
    """
    return RecordIssue(
        reason=IssueReason.INVALID_FIELD,
        message="Shopify has not processed the image (yet); the product is stored without it",
        product_id=product_id,
        field="image",
        sample=gid[:SAMPLE_LENGTH],
    )


def invalid_time(product_id: str, variant_id: str = "") -> RecordIssue:
    """Return the issue of a time that cannot be expressed in UTC."""
    return RecordIssue(
        reason=IssueReason.INVALID_FIELD,
        message="createdAt or updatedAt is outside the supported range of dates",
        product_id=product_id,
        variant_id=variant_id,
        field="updatedAt",
        product_rejected=not variant_id,
    )


def duplicate(product_id: str, variant_id: str = "") -> RecordIssue:
    """Return the issue of a product or variant that arrived before; the first one is kept."""
    return RecordIssue(
        reason=IssueReason.DUPLICATE_ID,
        message="the id appears twice; the first record is kept",
        product_id=product_id,
        variant_id=variant_id,
    )


def incomplete_variants(product_id: str, received: int, counted: int) -> RecordIssue:
    """Return the issue of a product with fewer or more variants than Shopify counts, even when read again."""
    return RecordIssue(
        reason=IssueReason.INCOMPLETE_VARIANTS,
        message=f"Shopify delivered {received} variants and counts {counted}",
        product_id=product_id,
        field="variantsCount",
        sample=str(counted),
    )


def _reason(field: str, *, is_missing: bool) -> IssueReason:
    if is_missing:
        return IssueReason.MISSING_ID if field == "id" else IssueReason.MISSING_FIELD
    return IssueReason.INVALID_PRICE if field in _PRICE_FIELDS else IssueReason.INVALID_FIELD


def _sample(raw: msgspec.Raw, steps: list[tuple[str, str]]) -> str:
    value: Any = decode_lossy(raw)
    for name, index in steps:
        try:
            value = value[name] if name else value[int(index)]
        except (LookupError, TypeError):
            return ""
    return (value if isinstance(value, str) else msgspec.json.encode(value).decode())[:SAMPLE_LENGTH]
